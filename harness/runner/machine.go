// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lbmatrix/lbmatrix/harness/guest/job"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

// machine describes this computer. What cannot be read stays empty: it is a label,
// not a measurement.
func machine() report.Machine {
	m := report.Machine{OS: osName("/etc/os-release"), CPUs: runtime.NumCPU(), Cgroup: "v1"}
	m.Host, _ = os.Hostname()
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		m.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.MemoryBytes = int64(info.Totalram) * int64(info.Unit)
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		m.Cgroup = "v2"
	}
	if place, ok, err := job.Here(); err == nil && ok {
		m.Accelerator, m.Slowdown = place.Accelerator, place.Slowdown
	}
	return m
}

// guestOnly is a machine that a journal describes, because its run is part of another
// machine's: nil for one that is no guest.
func guestOnly(m report.Machine) *report.Machine {
	if m.Accelerator == "" {
		return nil
	}
	return &m
}

// osName is PRETTY_NAME of an os-release file (os-release(5)).
func osName(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return runtime.GOOS
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "PRETTY_NAME="); ok {
			if name, err := strconv.Unquote(v); err == nil {
				return name
			}
			return v
		}
	}
	return runtime.GOOS
}
