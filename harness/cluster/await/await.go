// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package await waits for a named thing, and says what it last saw when it gives up.
package await

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/pace"
)

// Wait says what is waited for and for how long.
type Wait struct {
	For    string        // what, as in "wait for <For>"
	Within time.Duration // how long at most, on a machine of ordinary pace: see package pace
	Every  time.Duration // between two looks; 100 ms when zero
	InARow int           // how many looks in a row must find it; 1 when zero
	// Changed, when set, is told each new state: live progress.
	Changed func(state string)
}

// TimeoutError is a wait that gave up.
type TimeoutError struct {
	For    string
	Within time.Duration
	State  string // what was last seen
	Err    error  // what the last look failed with, if it did
}

func (e *TimeoutError) Error() string {
	msg := fmt.Sprintf("wait for %s: not within %s", e.For, e.Within)
	if e.State != "" {
		msg += "; last seen: " + e.State
	}
	if e.Err != nil {
		msg += "; last error: " + e.Err.Error()
	}
	return msg
}

func (e *TimeoutError) Unwrap() error { return e.Err }

// Fatal marks an error that no further look can mend.
func Fatal(err error) error { return &fatalError{err} }

type fatalError struct{ error }

func (e *fatalError) Unwrap() error { return e.error }

// Until looks until it finds w.For, w.InARow times in a row. An error of look is
// kept as the last state and looked past, unless it is Fatal. The context that look
// gets ends with the wait.
func Until(ctx context.Context, w Wait, look func(context.Context) (found bool, state string, err error)) error {
	w = w.withDefaults()
	w.Within = pace.Scale(ctx, w.Within)
	// On a slow machine looking takes from what is waited for.
	w.Every = max(w.Every, min(pace.Scale(ctx, w.Every), slowestLook))
	limited, cancel := context.WithTimeout(ctx, w.Within)
	defer cancel()
	tick := time.NewTicker(w.Every)
	defer tick.Stop()

	var state string
	var lastErr error
	row := 0
	for {
		found, now, err := look(limited)
		if f := (*fatalError)(nil); errors.As(err, &f) {
			return fmt.Errorf("wait for %s: %w", w.For, f.error)
		}
		// A look that the end of the wait cut short says nothing about the thing.
		if limited.Err() == nil {
			if now != "" && now != state {
				state = now
				if w.Changed != nil {
					w.Changed(state)
				}
			}
			lastErr = err
			row++
			if err != nil || !found {
				row = 0
			}
			if row >= w.InARow {
				return nil
			}
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("wait for %s: %w%s", w.For, context.Cause(ctx), seen(state))
			}
			return &TimeoutError{For: w.For, Within: w.Within, State: state, Err: lastErr}
		case <-tick.C:
		}
	}
}

// slowestLook bounds how rarely a slow machine looks.
const slowestLook = time.Second

func (w Wait) withDefaults() Wait {
	if w.Every <= 0 {
		w.Every = 100 * time.Millisecond
	}
	if w.InARow <= 0 {
		w.InARow = 1
	}
	return w
}

func seen(state string) string {
	if state == "" {
		return ""
	}
	return "; last seen: " + state
}
