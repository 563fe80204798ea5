// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Latest is the link in the results folder that points at the newest run.
const Latest = "latest"

// stampFormat is how the names of folders begin: sorted by name they are sorted by time.
const stampFormat = "20060102T150405Z"

// newFolder makes <results>/<UTC time>-<name>-<random> and points latest at it.
func newFolder(results, name string, at time.Time) (dir, id string, err error) {
	var b [3]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", "", fmt.Errorf("make run folder: %w", err)
	}
	id = hex.EncodeToString(b[:])
	dir, err = filepath.Abs(filepath.Join(results, at.UTC().Format(stampFormat)+"-"+name+"-"+id))
	if err != nil {
		return "", "", fmt.Errorf("make run folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", "", fmt.Errorf("make run folder: %w; name a folder that can be written to with --results", err)
	}
	return dir, id, pointLatest(dir)
}

// pointLatest replaces the link in one step, so that it never dangles.
func pointLatest(dir string) error {
	link := filepath.Join(filepath.Dir(dir), Latest)
	next := link + "." + filepath.Base(dir)
	if err := os.Symlink(filepath.Base(dir), next); err != nil {
		return fmt.Errorf("point %s at the run: %w", Latest, err)
	}
	if err := os.Rename(next, link); err != nil {
		return fmt.Errorf("point %s at the run: %w", Latest, errors.Join(err, os.Remove(next)))
	}
	return nil
}
