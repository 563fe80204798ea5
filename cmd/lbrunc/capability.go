// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// capabilitySet is a mask as /proc/self/status writes it: bit n is capability n.
type capabilitySet uint64

// capabilityNames holds the names by number (linux/capability.h).
func capabilityNames() []string {
	return []string{
		"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
		"SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
		"IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
		"SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
		"LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
		"WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
	}
}

// has says whether the set holds a capability by its OCI name. A name this program
// does not know counts as held: runc is the one to judge it.
func (s capabilitySet) has(name string) bool {
	name = strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	for n, known := range capabilityNames() {
		if known == name {
			return s&(1<<n) != 0
		}
	}
	return true
}

// boundingSet reads the bounding set of this process.
func boundingSet() (capabilitySet, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read bounding set: %w", err)
	}
	for line := range bytes.Lines(status) {
		if hex, ok := bytes.CutPrefix(line, []byte("CapBnd:")); ok {
			mask, err := strconv.ParseUint(string(bytes.TrimSpace(hex)), 16, 64)
			if err != nil {
				return 0, fmt.Errorf("read bounding set: %w", err)
			}
			return capabilitySet(mask), nil
		}
	}
	return 0, fmt.Errorf("read bounding set: no CapBnd in /proc/self/status")
}
