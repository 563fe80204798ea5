// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ledger

import (
	"context"
	"errors"
	"os"
)

// sweep removes the entries of one locked ledger.
type sweep struct {
	ctx    context.Context // of the one call that made this value
	path   string
	file   *os.File
	docker DockerRemover
	report func(Event)
	result *Report
	fresh  bool
	down   map[string]bool // daemons that did not answer: not asked again
}

// run removes entries newest first: containers were recorded after their network,
// which cannot go before them. It returns how many are left.
func (s *sweep) run(entries []Entry) (int, error) {
	var missing, failed []Entry
	for i := len(entries) - 1; i >= 0; i-- {
		if err := s.ctx.Err(); err != nil {
			return len(entries), err
		}
		e := entries[i]
		err := s.remove(e)
		switch {
		case err == nil:
			if err := s.done(e); err != nil {
				return len(entries), err
			}
		case errors.Is(err, ErrGone):
			missing = append(missing, e)
		default:
			failed = append(failed, e)
		}
	}
	// A second look, at what may have appeared since and at what that was in the way of.
	if s.fresh && hasDocker(missing) {
		if err := sleep(s.ctx, settle); err != nil {
			return len(entries), err
		}
	}
	left := 0
	for _, e := range append(missing, failed...) {
		err := s.remove(e)
		if err != nil && !errors.Is(err, ErrGone) {
			left++
			s.result.Kept = append(s.result.Kept, Kept{Ledger: s.path, Entry: e, Err: err})
			s.report(Event{Ledger: s.path, Entry: e, Err: err})
			continue
		}
		if err := s.done(e); err != nil {
			return len(entries), err
		}
	}
	return left, nil
}

func (s *sweep) remove(e Entry) error {
	switch e.Kind {
	case Container, Network, Volume:
		if s.down[e.Host] {
			return ErrDaemonDown
		}
		err := s.docker.RemoveDocker(s.ctx, e)
		if errors.Is(err, ErrDaemonDown) {
			s.down[e.Host] = true
		}
		return err
	case Process:
		return removeProcess(s.ctx, e)
	case Directory, File:
		return removePath(e)
	}
	return errors.New("unknown kind: written by a newer lbmatrix")
}

// done writes the tombstone at once: a clean that is interrupted goes on from there.
func (s *sweep) done(e Entry) error {
	if err := appendRecord(s.file, record{Op: opDone, Entry: &e}); err != nil {
		return err
	}
	s.result.Removed = append(s.result.Removed, e)
	s.report(Event{Ledger: s.path, Entry: e})
	return nil
}

func hasDocker(entries []Entry) bool {
	for _, e := range entries {
		switch e.Kind {
		case Container, Network, Volume:
			return true
		case Process, Directory, File:
		}
	}
	return false
}
