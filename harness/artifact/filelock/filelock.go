// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package filelock takes advisory locks between processes and between
// goroutines of one process. The kernel releases them when their holder dies,
// so a killed run never blocks the next one.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// poll is how often a taken lock is tried again: flock(2) itself cannot be
// interrupted by a context.
const poll = 200 * time.Millisecond

// Acquire takes the exclusive lock of path, creating the file and its folder. When
// another holds it, waiting is called once (it may be nil) and Acquire tries again
// until it has the lock or ctx ends. The returned function releases the lock.
func Acquire(ctx context.Context, path string, waiting func()) (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for first := true; ; first = false {
		// Each os.OpenFile is an open file description of its own, so the lock also
		// holds between goroutines.
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = f.Close() }, nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if first && waiting != nil {
			waiting()
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, context.Cause(ctx))
		case <-time.After(poll):
		}
	}
}
