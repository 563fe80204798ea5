// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package probe_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

func TestAnswered(t *testing.T) {
	ask := func(at int64) probe.Frame { return probe.Frame{At: at} }
	reply := func(at int64) probe.Frame { return probe.Frame{At: at, Reply: true} }
	for _, test := range []struct {
		name   string
		frames []probe.Frame
		want   int
	}{
		{"nothing", nil, 0},
		{"one each", []probe.Frame{ask(1), reply(2), ask(3), reply(4)}, 2},
		{"late and in a burst", []probe.Frame{ask(1), ask(2), ask(3), reply(9), reply(9), reply(9)}, 3},
		{"twice to one", []probe.Frame{ask(1), reply(2), reply(3), ask(4)}, 1},
		{"before it was asked", []probe.Frame{reply(1), ask(2)}, 0},
		{"in the same instant", []probe.Frame{reply(1), ask(1)}, 1},
		{"out of order", []probe.Frame{reply(4), ask(3), reply(2), ask(1)}, 2},
	} {
		require.Equal(t, test.want, probe.Answered(test.frames), test.name)
	}
}

// The order in which frames were written down does not matter, no more are answered than
// asked or than replies, and one reply more never takes an answer away.
func TestAnsweredProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frames := rapid.SliceOf(rapid.Custom(func(t *rapid.T) probe.Frame {
			return probe.Frame{At: rapid.Int64Range(0, 20).Draw(t, "at"), Reply: rapid.Bool().Draw(t, "reply")}
		})).Draw(t, "frames")
		asked := 0
		for _, f := range frames {
			if !f.Reply {
				asked++
			}
		}
		mixed := rapid.Permutation(frames).Draw(t, "mixed")
		n := probe.Answered(frames)
		require.Equal(t, n, probe.Answered(mixed))
		require.LessOrEqual(t, n, min(asked, len(frames)-asked))
		more := append(mixed, probe.Frame{At: rapid.Int64Range(0, 21).Draw(t, "more"), Reply: true})
		require.GreaterOrEqual(t, probe.Answered(more), n)
	})
}
