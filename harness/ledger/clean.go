// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Event is one step of a clean, for people.
type Event struct {
	Ledger string // file
	Live   bool   // the ledger is held by a live process: left alone
	PID    int    // that process, as far as the ledger says
	Entry  Entry
	Err    error // why the entry was kept; nil when it is gone
}

// Report is what a clean did.
type Report struct {
	Live    []string // ledgers left alone: their runs are alive, or another clean works on them
	Removed []Entry  // gone now
	Kept    []Kept   // could not be removed; still in their ledger
}

// Kept is an entry that is still there, and why.
type Kept struct {
	Ledger string
	Entry  Entry
	Err    error
}

// settle is how long after the first pass a fresh ledger's missing containers are
// looked for once more: the daemon may still be busy with a `docker run` whose
// caller was killed.
const settle = 2 * time.Second

// fresh is the age under which a ledger may have such requests under way.
const fresh = time.Minute

// Clean removes what dead runs left behind: of every ledger in dir whose lock is
// free, the entries, newest first. Live runs are left alone. The error joins what
// could not be removed.
func Clean(ctx context.Context, dir string, d DockerRemover, report func(Event)) (Report, error) {
	var r Report
	paths, err := filepath.Glob(filepath.Join(dir, "*"+extension))
	if err != nil {
		return r, fmt.Errorf("list ledgers: %w", err)
	}
	slices.Sort(paths)
	for _, p := range paths {
		if err := cleanFile(ctx, p, d, report, &r); err != nil {
			return r, err
		}
	}
	return r, r.err()
}

// CleanOne removes what one dead worker left. The caller has just killed it: its
// lock is waited for a moment.
func CleanOne(ctx context.Context, path string, d DockerRemover, report func(Event)) (Report, error) {
	const patience = 5 * time.Second
	deadline := time.Now().Add(patience)
	for {
		var r Report
		if err := cleanFile(ctx, path, d, report, &r); err != nil {
			return r, err
		}
		if len(r.Live) == 0 {
			return r, r.err()
		}
		if time.Now().After(deadline) {
			return r, fmt.Errorf("clean %s: %w", path, ErrLocked)
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return r, fmt.Errorf("clean %s: %w", path, err)
		}
	}
}

func (r Report) err() error {
	var errs []error
	for _, k := range r.Kept {
		errs = append(errs, fmt.Errorf("remove %s %s: %w", k.Entry.Kind, k.Entry.Name, k.Err))
	}
	return errors.Join(errs...)
}

// cleanFile cleans one ledger. A failed removal is reported in r; the error is for
// a ledger that could not be worked with, or ctx's.
func cleanFile(ctx context.Context, path string, d DockerRemover, report func(Event), r *Report) error {
	if report == nil {
		report = func(Event) {}
	}
	f, err := lockFile(path, os.O_RDWR|os.O_APPEND)
	if errors.Is(err, os.ErrNotExist) {
		return nil // another clean was faster
	}
	data, readErr := os.ReadFile(path)
	c := parse(data)
	if errors.Is(err, ErrLocked) {
		r.Live = append(r.Live, path)
		report(Event{Ledger: path, Live: true, PID: c.owner.PID})
		return nil
	}
	if err != nil {
		return fmt.Errorf("clean %s: %w", path, err)
	}
	defer func() { _ = f.Close() }() // every write was synced
	if readErr != nil {
		return fmt.Errorf("clean %s: %w", path, readErr)
	}
	if c.torn {
		if _, err := f.WriteString("\n"); err != nil {
			return fmt.Errorf("clean %s: %w", path, err)
		}
	}
	s := sweep{ctx: ctx, path: path, file: f, docker: d, report: report, result: r, down: map[string]bool{}}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("clean %s: %w", path, err)
	}
	s.fresh = time.Since(info.ModTime()) < fresh
	left, err := s.run(c.entries)
	if err != nil {
		return fmt.Errorf("clean %s: %w", path, err)
	}
	if left > 0 {
		return nil
	}
	// The lock is still held: nobody can add to the file that goes.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("clean %s: %w", path, err)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
