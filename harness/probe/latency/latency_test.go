// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package latency

import (
	"slices"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// Percentiles are within 0.1 %, the extremes and the mean exact, and two merged are the
// same as all in one.
func TestLatencies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sample := rapid.SliceOfN(rapid.Int64Range(-5, int64(2*time.Hour)), 1, 300)
		a, b := sample.Draw(t, "a"), sample.Draw(t, "b")
		one, two, all := New(), New(), New()
		var clamped []int64
		for _, part := range []struct {
			values []int64
			into   *Latencies
		}{{a, one}, {b, two}} {
			for _, v := range part.values {
				for _, l := range []*Latencies{part.into, all} {
					if err := l.Record(time.Duration(v)); err != nil {
						t.Fatal(err)
					}
				}
				clamped = append(clamped, min(max(v, 1), int64(time.Hour)))
			}
		}
		one.Merge(two)
		got, err := one.Body("t", "n")
		if err != nil {
			t.Fatal(err)
		}
		want, err := all.Body("t", "n")
		if err != nil || got != want {
			t.Fatalf("merged %+v, in one %+v, %v", got, want, err)
		}
		slices.Sort(clamped)
		var sum int64
		for _, v := range clamped {
			sum += v
		}
		n := len(clamped)
		if got.Count != int64(n) || got.Min != clamped[0] || got.Max != clamped[n-1] || got.Mean != sum/int64(n) {
			t.Fatalf("%+v of %d from %d to %d", got, n, clamped[0], clamped[n-1])
		}
		// The library takes the sample of the nearest rank.
		exact := clamped[max(1, int(0.99*float64(n)+0.5))-1]
		if diff := float64(got.P99-exact) / float64(exact); diff < -0.001 || diff > 0.001 {
			t.Fatalf("p99 %d, exactly %d", got.P99, exact)
		}
	})
}

func TestSwapGivesIntervals(t *testing.T) {
	l := New()
	require.NoError(t, l.Record(1))
	require.Nil(t, l.Swap(NewHistogram()), "what was before the first is in no interval")
	sum := NewHistogram()
	for i := range 3 {
		for range i {
			require.NoError(t, l.Record(time.Millisecond))
		}
		interval := l.Swap(NewHistogram())
		require.EqualValues(t, i, interval.TotalCount())
		sum.Merge(interval)
	}
	require.EqualValues(t, 3, sum.TotalCount())
	body, err := l.Body("t", "n")
	require.NoError(t, err)
	require.EqualValues(t, 4, body.Count)
	decoded, err := hdrhistogram.Decode([]byte(body.HDR))
	require.NoError(t, err)
	require.EqualValues(t, 4, decoded.TotalCount())
}

func TestEmpty(t *testing.T) {
	body, err := New().Body("t", "n")
	require.NoError(t, err)
	require.Zero(t, body.P99+body.Max+body.Min+body.Mean+body.Count)
}

// Every sample comes back at its rank, within the histogram's precision.
func TestRanks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		samples := rapid.SliceOfN(rapid.Int64Range(1, int64(time.Minute)), 1, 300).Draw(t, "samples")
		l := New()
		for _, v := range samples {
			require.NoError(t, l.Record(time.Duration(v)))
		}
		body, err := l.Body("vip", "response")
		require.NoError(t, err)
		at, err := Ranks(body)
		require.NoError(t, err)
		slices.Sort(samples)
		for rank, v := range samples {
			require.InEpsilon(t, v, at(rank), 0.001, "rank %d", rank)
		}
	})
}

func TestRanksRefuses(t *testing.T) {
	l := New()
	for i := range 100 {
		require.NoError(t, l.Record(time.Duration(i+1)*time.Millisecond))
	}
	for name, spoil := range map[string]func(*probe.LoadHistogram){
		"torn":                func(b *probe.LoadHistogram) { b.HDR = b.HDR[:len(b.HDR)/2] },
		"another count":       func(b *probe.LoadHistogram) { b.Count++ },
		"another p50":         func(b *probe.LoadHistogram) { b.P50 *= 2 },
		"another p90":         func(b *probe.LoadHistogram) { b.P90 /= 2 },
		"a maximum below p99": func(b *probe.LoadHistogram) { b.Max = b.P50 },
	} {
		t.Run(name, func(t *testing.T) {
			body, err := l.Body("vip", "response")
			require.NoError(t, err)
			_, err = Ranks(body)
			require.NoError(t, err)
			spoil(&body)
			_, err = Ranks(body)
			require.ErrorContains(t, err, "decode response histogram of vip")
		})
	}
}
