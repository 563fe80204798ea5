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
	"slices"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/report"
)

// GuestDir is the folder, within what a guest has run, of its log and report.
const GuestDir = "guest"

// Homecoming takes the run folders of a guest into the results folder of this machine.
type Homecoming struct{ results, dir string }

// NewHomecoming makes the folder that a guest's log and what it brings back land in:
// <results>/<UTC time>-guest-<random>.
func NewHomecoming(results string, at time.Time) (*Homecoming, error) {
	var b [3]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, fmt.Errorf("make folder of a guest: %w", err)
	}
	results, err := filepath.Abs(results)
	if err != nil {
		return nil, fmt.Errorf("make folder of a guest: %w", err)
	}
	h := &Homecoming{results, filepath.Join(results, at.UTC().Format(stampFormat)+"-guest-"+hex.EncodeToString(b[:]))}
	for _, dir := range []string{h.Logs(), h.Incoming()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make folder of a guest: %w", err)
		}
	}
	return h, nil
}

// Logs is where the guest's log and report belong.
func (h *Homecoming) Logs() string { return filepath.Join(h.dir, GuestDir) }

// Incoming is where the files of the guest's results folder belong.
func (h *Homecoming) Incoming() string { return filepath.Join(h.dir, "incoming") }

// Settle moves what came back among the runs of this machine and points latest at it; the
// guest's log goes with the newest. It returns the folders there are now: a guest without
// a run leaves its log only.
func (h *Homecoming) Settle() ([]string, error) {
	runs, err := filepath.Glob(filepath.Join(h.Incoming(), "*", report.RunFile))
	if err != nil {
		return nil, fmt.Errorf("take in results: %w", err)
	}
	slices.Sort(runs) // names begin with the time
	var moved []string
	for _, file := range runs {
		from := filepath.Dir(file)
		to := filepath.Join(h.results, filepath.Base(from))
		if err := os.Rename(from, to); err != nil {
			return moved, fmt.Errorf("take in results: %w", err)
		}
		moved = append(moved, to)
	}
	if len(moved) == 0 {
		// What a command that is no run left stays where it is.
		_ = os.Remove(h.Incoming()) // not where something is in it
		return []string{h.dir}, nil
	}
	newest := moved[len(moved)-1]
	if err := os.Rename(h.Logs(), filepath.Join(newest, GuestDir)); err != nil {
		return moved, fmt.Errorf("take in results: %w", err)
	}
	return moved, errors.Join(os.RemoveAll(h.dir), pointLatest(newest))
}
