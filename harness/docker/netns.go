// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package docker

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
)

// ensureNetNS makes the daemon's network namespace: loopback and, later, docker's
// bridges; nothing in it reaches the machine's network.
func (p places) ensureNetNS(ctx context.Context) error {
	file := p.netnsFile()
	bound, err := isNetNS(file)
	if err != nil {
		return fmt.Errorf("inspect network namespace: %w", err)
	}
	if !bound {
		// /run is not a tmpfs everywhere: after a reboot the name may be a plain file.
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove stale network namespace: %w", err)
		}
		if _, err := proc.Run(ctx, proc.Command(ctx, "ip", "netns", "add", p.netns)); err != nil {
			return fmt.Errorf("add network namespace: %w", err)
		}
	}
	if _, err := proc.Run(ctx, proc.Command(ctx, "nsenter", "--net="+file, "ip", "link", "set", "lo", "up")); err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	return nil
}

func (p places) removeNetNS(ctx context.Context) error {
	if _, err := os.Lstat(p.netnsFile()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	bound, err := isNetNS(p.netnsFile())
	if err != nil {
		return fmt.Errorf("inspect network namespace: %w", err)
	}
	if !bound {
		return os.Remove(p.netnsFile())
	}
	if _, err := proc.Run(ctx, proc.Command(ctx, "ip", "netns", "del", p.netns)); err != nil {
		return fmt.Errorf("delete network namespace: %w", err)
	}
	return nil
}

// isNetNS says whether a file is a bound namespace. A missing file is none.
func isNetNS(file string) (bool, error) {
	var st unix.Statfs_t
	switch err := unix.Statfs(file, &st); {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, err
	}
	return st.Type == unix.NSFS_MAGIC, nil
}
