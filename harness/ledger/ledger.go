// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// StateEnv overrides where lbmatrix keeps its state.
const StateEnv = "LBMATRIX_STATE"

const extension = ".jsonl"

// Dir is where ledgers are kept: $LBMATRIX_STATE/ledger, $XDG_STATE_HOME/lbmatrix/ledger
// or ~/.local/state/lbmatrix/ledger.
func Dir() (string, error) {
	if d := os.Getenv(StateEnv); d != "" {
		return filepath.Join(d, "ledger"), nil
	}
	if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "lbmatrix", "ledger"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the state directory: %w; set %s", err, StateEnv)
	}
	return filepath.Join(home, ".local", "state", "lbmatrix", "ledger"), nil
}

// Ledger is one worker's list of what exists because of it. Its methods may be
// called from several goroutines.
type Ledger struct {
	path string

	mu      sync.Mutex
	file    *os.File
	entries []Entry
}

// Open creates the ledger name in dir, or takes over the one a dead run left there,
// and holds its lock until Close or the end of the process. Children don't inherit
// the lock. ErrLocked when somebody else holds it.
func Open(dir, name string) (*Ledger, error) {
	if name == "" || strings.ContainsAny(name, "/\x00") {
		return nil, fmt.Errorf("open ledger: bad name %q", name)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	path := filepath.Join(dir, name+extension)
	f, err := lockFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND)
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", path, err)
	}
	l := &Ledger{path: path, file: f}
	if err := l.begin(); err != nil {
		_ = f.Close() // the first error is the one to tell
		return nil, fmt.Errorf("open ledger %s: %w", path, err)
	}
	return l, nil
}

// begin reads what a dead run left and writes this process down as the owner.
func (l *Ledger) begin() error {
	data, err := os.ReadFile(l.path)
	if err != nil {
		return err
	}
	c := parse(data)
	if c.torn {
		if _, err := l.file.WriteString("\n"); err != nil {
			return err
		}
	}
	l.entries = c.entries
	start, err := StartTime(os.Getpid())
	if err != nil {
		return err
	}
	if err := appendRecord(l.file, record{Op: opOpen, Owner: &owner{PID: os.Getpid(), StartTime: start}}); err != nil {
		return err
	}
	return syncDir(filepath.Dir(l.path))
}

// Path is the ledger's file.
func (l *Ledger) Path() string { return l.path }

// Entries are the things that exist, oldest first.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries)
}

// Add records e. It returns when the record is on the disk: call it before the
// thing is made, and don't make it when Add fails.
func (l *Ledger) Add(e Entry) error {
	return l.record(opAdd, e)
}

// Done records that e is gone.
func (l *Ledger) Done(e Entry) error {
	return l.record(opDone, e)
}

func (l *Ledger) record(o op, e Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return fmt.Errorf("record %s %s: %w", e.Kind, e.Name, os.ErrClosed)
	}
	if err := appendRecord(l.file, record{Op: o, Entry: &e}); err != nil {
		return fmt.Errorf("record %s %s: %w", e.Kind, e.Name, err)
	}
	l.entries = without(l.entries, e)
	if o == opAdd {
		l.entries = append(l.entries, e)
	}
	return nil
}

// Close gives up the lock. The file is removed when nothing is left in it, unless
// keep is set. What is left in a closed ledger belongs to the next clean.
func (l *Ledger) Close(keep bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	var err error
	if !keep && len(l.entries) == 0 {
		// Before the lock is given up: a cleaner that waits for it must find no file.
		err = os.Remove(l.path)
	}
	err = errors.Join(err, l.file.Close())
	l.file = nil
	if err != nil {
		return fmt.Errorf("close ledger: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
