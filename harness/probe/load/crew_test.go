// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever comes when, every job that was taken is done once, as many at a time as the crew
// has members, none is refused while there is room, and no member comes while another is
// idle.
func TestCrew(t *testing.T) {
	type given struct {
		Pause, Takes int // ms: before it is given, and to do it
	}
	type seen struct{ wrongly, unordered, unfinished, repeated, members, peak int }
	rapid.Check(t, func(r *rapid.T) {
		size := rapid.IntRange(1, 5).Draw(r, "size")
		most := size + rapid.IntRange(0, 4).Draw(r, "waiting")
		jobs := rapid.SliceOf(rapid.Custom(func(r *rapid.T) given {
			return given{rapid.IntRange(0, 3).Draw(r, "pause"), rapid.IntRange(1, 9).Draw(r, "takes")}
		})).Draw(r, "jobs")
		var got seen
		synctest.Test(t, func(*testing.T) { // whose time is its own, and which rapid must be outside of
			var mu sync.Mutex
			busy, done := 0, map[int64]int{}
			begun := map[int64]time.Time{}
			c := &crew{size: size, most: most, work: func(j job) {
				mu.Lock()
				busy++
				begun[j.number] = time.Now()
				mu.Unlock()
				time.Sleep(time.Duration(jobs[j.number].Takes) * time.Millisecond)
				mu.Lock()
				busy--
				done[j.number]++
				mu.Unlock()
			}}
			taken := 0
			for i, g := range jobs {
				time.Sleep(time.Duration(g.Pause) * time.Millisecond)
				synctest.Wait()
				mu.Lock()
				full := taken-len(done) == most
				mu.Unlock()
				if full != c.full() {
					got.wrongly++
				}
				if full {
					continue
				}
				taken++
				c.do(job{number: int64(i)})
				synctest.Wait()
				mu.Lock()
				got.peak = max(got.peak, busy)
				mu.Unlock()
			}
			c.wait()
			got.unfinished = taken - len(done)
			var last time.Time
			for _, number := range slices.Sorted(maps.Keys(begun)) {
				if begun[number].Before(last) {
					got.unordered++
				}
				last = begun[number]
			}
			for _, n := range done {
				got.repeated += n - 1
			}
			got.members = c.members
		})
		require.Equal(r, seen{peak: got.peak, members: got.peak}, got)
		require.LessOrEqual(r, got.members, size)
	})
}

// The same where nobody waits for anybody, for the race detector.
func TestCrewAtFullSpeed(t *testing.T) {
	const size, jobs = 4, 20_000
	var done atomic.Int64
	c := &crew{size: size, most: 2 * size, work: func(job) { done.Add(1) }}
	taken := int64(0)
	for i := range int64(jobs) {
		if !c.full() {
			taken++
			c.do(job{number: i})
		}
	}
	c.wait()
	require.Positive(t, taken)
	require.Equal(t, taken, done.Load())
	require.LessOrEqual(t, c.members, size)
}
