// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// op says what a line of a ledger file records.
type op string

const (
	opOpen op = "open" // a process took the ledger
	opAdd  op = "add"  // a thing is about to be made
	opDone op = "done" // a thing is gone
)

// record is one line of a ledger file.
type record struct {
	Op    op        `json:"op"`
	Time  time.Time `json:"time"`
	Owner *owner    `json:"owner,omitempty"`
	Entry *Entry    `json:"entry,omitempty"`
}

// owner is the process that holds a ledger; it is named in reports only, the lock
// is what counts.
type owner struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime,omitempty"`
}

// contents is what a ledger file says.
type contents struct {
	owner   owner
	entries []Entry // those not done, in the order they were added
	torn    bool    // the last line has no end: the writer was killed
}

// parse reads a ledger file's bytes. Lines that cannot be read are skipped: a line
// is synced before its thing is made, so a torn one describes a thing that never was.
func parse(data []byte) contents {
	var c contents
	c.torn = len(data) > 0 && data[len(data)-1] != '\n'
	for line := range bytes.Lines(data) {
		var r record
		if json.Unmarshal(line, &r) != nil {
			continue
		}
		switch {
		case r.Op == opOpen && r.Owner != nil:
			c.owner = *r.Owner
		case r.Op == opAdd && r.Entry != nil:
			c.entries = append(without(c.entries, *r.Entry), *r.Entry)
		case r.Op == opDone && r.Entry != nil:
			c.entries = without(c.entries, *r.Entry)
		}
	}
	return c
}

func without(entries []Entry, e Entry) []Entry {
	return slices.DeleteFunc(entries, func(x Entry) bool { return x == e })
}

// appendRecord writes one line and returns when it is on the disk.
func appendRecord(f *os.File, r record) error {
	r.Time = time.Now().UTC()
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode ledger record: %w", err)
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("append to ledger: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync ledger: %w", err)
	}
	return nil
}
