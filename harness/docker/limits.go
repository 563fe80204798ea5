// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package docker

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// sysResource is CAP_SYS_RESOURCE's number (linux/capability.h).
const sysResource = 24

// lacksSysResource reads a /proc/<pid>/status file.
func lacksSysResource(file string) (bool, error) {
	status, err := os.ReadFile(file)
	if err != nil {
		return false, fmt.Errorf("read bounding set: %w", err)
	}
	for line := range bytes.Lines(status) {
		if hex, ok := bytes.CutPrefix(line, []byte("CapBnd:")); ok {
			mask, err := strconv.ParseUint(string(bytes.TrimSpace(hex)), 16, 64)
			if err != nil {
				return false, fmt.Errorf("read bounding set: %w", err)
			}
			return mask&(1<<sysResource) == 0, nil
		}
	}
	return false, fmt.Errorf("read bounding set: no CapBnd in %s", file)
}

// raiseInotify raises the limits that several nodes on one kernel exhaust: systemd,
// kubelet and containerd of every node count against one user. The figures are the
// ones kind's documentation recommends.
func raiseInotify(out io.Writer) {
	for name, want := range map[string]int{"max_user_instances": 512, "max_user_watches": 524288} {
		file := filepath.Join("/proc/sys/fs/inotify", name)
		now, ok := readPID(file)
		if !ok || now >= want {
			continue
		}
		if err := os.WriteFile(file, []byte(strconv.Itoa(want)), 0o644); err != nil {
			fmt.Fprintf(out, "fs.inotify.%s is %d and cannot be raised to %d: %v\n", name, now, want, err)
			continue
		}
		fmt.Fprintf(out, "fs.inotify.%s raised from %d to %d\n", name, now, want)
	}
}
