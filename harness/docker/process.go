// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is a running process, told from a later one with the same pid by its
// start time (clock ticks since boot, field 22 of /proc/<pid>/stat).
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// lookup finds a running process whose program has the given name and whose
// command line holds the given argument. A zombie counts as gone.
func lookup(pid int, program, argument string) (process, bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	exe, err := os.Readlink(filepath.Join(dir, "exe"))
	if err != nil || strings.TrimSuffix(filepath.Base(exe), " (deleted)") != program {
		return process{}, false
	}
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil || !bytes.Contains(line, []byte(argument)) {
		return process{}, false
	}
	start, err := startTime(pid)
	if err != nil {
		return process{}, false
	}
	return process{PID: pid, Start: start}, true
}

func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	return parseStart(stat)
}

// statFields are the fields of a stat from the third on. The second, the name, may hold
// spaces and brackets, so they are counted from its end.
func statFields(stat []byte) ([][]byte, error) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return nil, errors.New("malformed stat")
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) < 20 {
		return nil, errors.New("short stat")
	}
	return fields, nil
}

// parseStart reads field 22. State Z means the process is gone.
func parseStart(stat []byte) (uint64, error) {
	fields, err := statFields(stat)
	if err != nil {
		return 0, err
	}
	if string(fields[0]) == "Z" {
		return 0, errors.New("zombie")
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// alive says whether it is still the same process.
func (p process) alive() bool {
	start, err := startTime(p.PID)
	return err == nil && start == p.Start
}

// end asks the process to end, waits, and kills it when it does not.
func (p process) end(ctx context.Context, patience time.Duration) error {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if !p.alive() {
			return nil
		}
		if err := unix.Kill(p.PID, sig); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("signal process %d: %w", p.PID, err)
		}
		for deadline := time.Now().Add(patience); time.Now().Before(deadline) && p.alive(); {
			select {
			case <-ctx.Done():
				return fmt.Errorf("end process %d: %w", p.PID, context.Cause(ctx))
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	if p.alive() {
		return fmt.Errorf("end process %d: still running after SIGKILL", p.PID)
	}
	return nil
}

func readPID(file string) (int, bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	return pid, err == nil && pid > 0
}

// daemon finds our running dockerd. The state file says which process was started;
// the pid file is dockerd's own and covers a Start killed before it wrote the state.
func (p places) daemon() (process, bool) {
	var known process
	if data, err := os.ReadFile(p.stateFile()); err == nil && json.Unmarshal(data, &known) == nil {
		if now, ok := lookup(known.PID, "dockerd", p.config()); ok && now == known {
			return now, true
		}
	}
	if pid, ok := readPID(p.pidFile()); ok {
		return lookup(pid, "dockerd", p.config())
	}
	return process{}, false
}

// containerd finds the containerd our dockerd has started; it outlives a killed one.
func (p places) containerd() (process, bool) {
	pid, ok := readPID(filepath.Join(p.execRoot(), "containerd", "containerd.pid"))
	if !ok {
		return process{}, false
	}
	return lookup(pid, "containerd", filepath.Join(p.execRoot(), "containerd"))
}

// orphaned says whether containers of a killed daemon still run.
func (p places) orphaned() bool { return len(p.shims()) > 0 }

// shims finds the shims of our daemon's containers. Each container has one, which names
// the containerd it belongs to. A container of this machine may have a daemon at the same
// path in its own file system: its processes are in a PID namespace of their own.
func (p places) shims() []process {
	var out []process
	for _, pid := range pids() {
		if s, ok := lookup(pid, "containerd-shim-runc-v2", filepath.Join(p.execRoot(), "containerd")+"/"); ok && samePIDs(pid) {
			out = append(out, s)
		}
	}
	return out
}

// samePIDs says whether a process is in this one's PID namespace.
func samePIDs(pid int) bool {
	ours, err := os.Readlink("/proc/self/ns/pid")
	theirs, err2 := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns/pid"))
	return err == nil && err2 == nil && ours == theirs
}

// endShim kills a shim and what it has started. A container's other processes end with
// its first.
func endShim(s process) error {
	var errs []error
	for _, pid := range append(childrenOf(s.PID), s.PID) {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("signal process %d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}

// childrenOf lists the processes whose parent is pid.
func childrenOf(pid int) []int {
	var out []int
	for _, child := range pids() {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(child), "stat"))
		if err != nil {
			continue
		}
		if fields, err := statFields(stat); err == nil && string(fields[1]) == strconv.Itoa(pid) {
			out = append(out, child)
		}
	}
	return out
}

// pids lists this machine's processes.
func pids() []int {
	var out []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			out = append(out, pid)
		}
	}
	return out
}
