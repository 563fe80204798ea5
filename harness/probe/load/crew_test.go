// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever comes when, every job that was taken is done once, never more at a time than
// the crew may have members, and those that are refused are refused for that alone.
func TestCrew(t *testing.T) {
	type given struct {
		Pause, Takes int // ms: before it is given, and to do it
	}
	rapid.Check(t, func(r *rapid.T) {
		most := rapid.IntRange(1, 8).Draw(r, "most")
		jobs := rapid.SliceOf(rapid.Custom(func(r *rapid.T) given {
			return given{rapid.IntRange(0, 3).Draw(r, "pause"), rapid.IntRange(0, 9).Draw(r, "takes")}
		})).Draw(r, "jobs")
		synctest.Test(t, func(t *testing.T) { // whose time is its own, and which rapid must be outside of
			var mu sync.Mutex
			busy, done := 0, map[int64]int{}
			c := &crew{most: most, work: func(j job) {
				mu.Lock()
				busy++
				mu.Unlock()
				time.Sleep(time.Until(j.due))
				mu.Lock()
				busy--
				done[j.number]++
				mu.Unlock()
			}}
			taken := map[int64]int{}
			for i, g := range jobs {
				time.Sleep(time.Duration(g.Pause) * time.Millisecond)
				synctest.Wait()
				mu.Lock()
				full := busy == most
				mu.Unlock()
				require.Equal(t, full, c.full())
				if !full {
					taken[int64(i)] = 1
					c.do(job{number: int64(i), due: time.Now().Add(time.Duration(g.Takes) * time.Millisecond)})
				}
			}
			c.wait()
			require.Equal(t, taken, done)
			require.Zero(t, busy)
			require.LessOrEqual(t, c.members, most)
		})
	})
}
