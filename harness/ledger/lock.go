// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ledger

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ErrLocked says that the process which holds a ledger is alive.
var ErrLocked = errors.New("held by a live process")

// lockFile opens path and takes its lock without waiting. The lock belongs to the
// open file, which os.OpenFile marks close-on-exec: no child can keep it alive.
func lockFile(path string, flag int) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, flag, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			_ = f.Close() // nothing was written
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, ErrLocked
			}
			return nil, err
		}
		same, err := stillAt(f, path)
		if err == nil && same {
			return f, nil
		}
		_ = f.Close() // nothing was written
		if err != nil {
			return nil, err
		}
		// Its owner removed the file between our open and our lock: the lock is on a
		// file nobody can find any more. Try again with the one that is there now.
	}
}

func stillAt(f *os.File, path string) (bool, error) {
	opened, err := f.Stat()
	if err != nil {
		return false, err
	}
	now, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(opened, now), nil
}
