// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package sweep

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestDueIsSpreadAndDoesNotDrift(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 50).Draw(t, "targets")
		interval := time.Duration(rapid.Int64Range(int64(n), int64(time.Minute)).Draw(t, "interval"))
		round, i := rapid.IntRange(0, 10000).Draw(t, "round"), rapid.IntRange(0, n-1).Draw(t, "target")
		at := due(round, i, n, interval)
		if at < time.Duration(round)*interval || at >= time.Duration(round+1)*interval {
			t.Fatalf("due %s is not within round %d of %s", at, round, interval)
		}
		if due(round+1, i, n, interval)-at != interval {
			t.Fatal("rounds drift")
		}
	})
}

func TestRoundKeepsTheRate(t *testing.T) {
	c := Config{Interval: 100 * time.Millisecond, Targets: make([]netip.Addr, 50)}
	require.Equal(t, 100*time.Millisecond, c.Round(), "no limit")
	c.MaxRate = 1000
	require.Equal(t, 100*time.Millisecond, c.Round(), "500 frames a second are within 1000")
	c.MaxRate = 100
	require.Equal(t, 500*time.Millisecond, c.Round())
}
