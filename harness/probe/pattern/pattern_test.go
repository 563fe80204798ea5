// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package pattern_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/probe/pattern"
)

func TestWhereverItIsCutItIsTheSame(t *testing.T) {
	whole := make([]byte, 20000)
	pattern.Fill(whole, 0)
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.IntRange(0, len(whole)).Draw(t, "from")
		to := rapid.IntRange(from, len(whole)).Draw(t, "to")
		part := make([]byte, to-from)
		pattern.Fill(part, int64(from))
		require.Equal(t, whole[from:to], part)
		require.Equal(t, -1, pattern.Check(part, int64(from)))
	})
}

func TestDamageIsSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := make([]byte, rapid.IntRange(16, 9000).Draw(t, "length"))
		offset := rapid.Int64Range(0, 1<<40).Draw(t, "offset")
		pattern.Fill(p, offset)
		i := rapid.IntRange(0, len(p)-1).Draw(t, "at")
		damaged := slices.Clone(p)
		damaged[i] ^= rapid.Byte().Filter(func(b byte) bool { return b != 0 }).Draw(t, "bits")
		require.Equal(t, i, pattern.Check(damaged, offset))
		shift := rapid.IntRange(1, len(p)-8).Draw(t, "shift")
		require.NotEqual(t, -1, pattern.Check(p[shift:], offset), "shifted by %d bytes", shift)
	})
}

func BenchmarkFill(b *testing.B) {
	p := make([]byte, 64<<10)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		pattern.Fill(p, 0)
	}
}
