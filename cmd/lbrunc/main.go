// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Command lbrunc stands in front of runc where the machine lacks
// CAP_SYS_RESOURCE. Container engines ask for every capability, for a lower OOM
// score and for raised limits; runc then fails ("unable to apply caps"). lbrunc
// takes what cannot be granted out of the OCI configuration and becomes runc.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "lbrunc:", err)
		os.Exit(1)
	}
}

// run returns only on error: it ends as runc.
func run(args []string) error {
	bound, err := boundingSet()
	if err != nil {
		return err
	}
	if t := findTarget(args[1:]); t.file != "" {
		if err := editFile(t, bound); err != nil {
			return err
		}
	}
	runc, err := findRunc(os.Getenv("LBRUNC_RUNC"))
	if err != nil {
		return err
	}
	if err := unix.Exec(runc, append([]string{runc}, args[1:]...), os.Environ()); err != nil {
		return fmt.Errorf("exec %s: %w", runc, err)
	}
	return nil
}

// findRunc is the real runc: the named one, or the first known place that holds a
// program other than this one.
func findRunc(named string) (string, error) {
	if named != "" {
		return named, nil
	}
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("find runc: %w", err)
	}
	for _, path := range []string{"/usr/sbin/runc.real", "/usr/bin/runc", "/usr/sbin/runc", "/usr/local/sbin/runc", "/usr/local/bin/runc"} {
		info, err := os.Stat(path)
		if err != nil || os.SameFile(self, info) {
			continue
		}
		return filepath.EvalSymlinks(path)
	}
	return "", fmt.Errorf("find runc: not in its usual places; name it in LBRUNC_RUNC")
}
