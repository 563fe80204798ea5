// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package capture

import "github.com/lbmatrix/lbmatrix/harness/probe"

// ring bounds what a capture keeps: the first frames, which open what is measured, are
// written as they come; of the others the newest are held, and written at the end. What
// lies between is overwritten, and counted.
type ring struct {
	limit       int // bytes of frames, for each of the two halves
	write       func(probe.CaptureFrame) error
	written     int // bytes that were written as they came
	full        bool
	held        []probe.CaptureFrame // from first on, oldest first
	first       int
	bytes       int // held
	overwritten int // frames
}

func newRing(maxBytes int, write func(probe.CaptureFrame) error) *ring {
	return &ring{limit: maxBytes / 2, write: write}
}

func (r *ring) add(f probe.CaptureFrame) error {
	if !r.full && r.written+len(f.Data) <= r.limit {
		r.written += len(f.Data)
		return r.write(f)
	}
	r.full = true // whatever is smaller must not overtake
	r.held = append(r.held, f)
	r.bytes += len(f.Data)
	for r.bytes > r.limit && r.first < len(r.held) {
		r.bytes -= len(r.held[r.first].Data)
		r.held[r.first] = probe.CaptureFrame{}
		r.first++
		r.overwritten++
	}
	if r.first > len(r.held)/2 {
		r.held = append(r.held[:0], r.held[r.first:]...)
		r.first = 0
	}
	return nil
}

// flush writes what is held.
func (r *ring) flush() error {
	held := r.held[r.first:]
	r.held, r.first, r.bytes = nil, 0, 0
	for _, f := range held {
		if err := r.write(f); err != nil {
			return err
		}
	}
	return nil
}
