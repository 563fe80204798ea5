// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package probe

import (
	"cmp"
	"slices"
)

// Frame is a broadcast that asks for an address, or an answer to it.
type Frame struct {
	At    int64 // ns, on the clock that all frames of a sweep share
	Reply bool
}

// Answered counts the broadcasts that a later reply answers, each reply one. It does not
// go by the round that a reply was attributed to: on a busy machine several broadcasts
// leave before the first answer is read, and none of them is unanswered for that.
// A second reply to the same broadcast answers nothing more. The frames are put in order.
func Answered(frames []Frame) int {
	// At the same time a broadcast comes first: nothing is answered before it is asked.
	slices.SortStableFunc(frames, func(a, b Frame) int {
		if c := cmp.Compare(a.At, b.At); c != 0 || a.Reply == b.Reply {
			return c
		}
		if a.Reply {
			return 1
		}
		return -1
	})
	open, n := 0, 0
	for _, f := range frames {
		switch {
		case !f.Reply:
			open++
		case open > 0:
			open--
			n++
		}
	}
	return n
}
