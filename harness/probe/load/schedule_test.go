// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat/distuv"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

func TestSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Schedule{time.Unix(0, 0), rapid.Float64Range(0.01, 1e6).Draw(t, "rate")}
		i := rapid.Int64Range(0, 1e6).Draw(t, "request")
		if gap := s.Due(i+1).Sub(s.Due(i)).Seconds() * s.Rate; gap < 1-2e-9*s.Rate-1e-6 || gap > 1+2e-9*s.Rate+1e-6 {
			t.Fatalf("requests %d and %d are %v intervals apart", i, i+1, gap)
		}
		d := time.Duration(rapid.Int64Range(0, int64(time.Hour/100)).Draw(t, "duration"))
		n := s.CountFor(d)
		if n > 0 && s.offset(n-1) >= d || s.offset(n) < d {
			t.Fatalf("%d requests in %s at %v/s", n, d, s.Rate)
		}
	})
	require.EqualValues(t, 1000, Schedule{Rate: 100}.CountFor(10*time.Second))
}

func TestPoissonSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(1, 1e5).Draw(t, "rate")
		seed := rapid.Uint64().Draw(t, "seed")
		a, b := poisson(rate, seed), poisson(rate, seed)
		var last time.Duration
		for range 100 {
			x := a()
			if y := b(); x != y || x < last {
				t.Fatalf("%s after %s, and %s with the same seed", x, last, y)
			}
			last = x
		}
	})
	// The gaps of one seed: their mean, and the Kolmogorov-Smirnov distance from the
	// exponential distribution, whose critical value at alpha 1e-6 is
	// sqrt(-ln(alpha/2)/2n).
	const n, rate = 100_000, 1000.0
	next := poisson(rate, 1)
	gaps := make([]float64, n)
	var last time.Duration
	for i := range gaps {
		at := next()
		gaps[i] = (at - last).Seconds()
		last = at
	}
	require.InDelta(t, n/rate, last.Seconds(), 5*math.Sqrt(n)/rate, "five standard deviations")
	exponential := distuv.Exponential{Rate: rate}
	var below [1000]int
	for _, g := range gaps {
		below[min(int(exponential.CDF(g)*1000), 999)]++
	}
	sum, distance := 0, 0.0
	for i, k := range below {
		sum += k
		distance = max(distance, math.Abs(float64(sum)/n-float64(i+1)/1000))
	}
	require.Less(t, distance, math.Sqrt(-math.Log(1e-6/2)/(2*n)))
}

func TestPoissonRunEndsByDuration(t *testing.T) {
	for _, count := range []int64{0, 77} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			r, err := runLoad(t.Context(), t, Config{
				Mode: probe.ModeHTTPNew, Targets: oneTarget, Rate: 100, Schedule: probe.SchedulePoisson, Seed: 7,
				Duration: 10 * time.Second, Count: count, Sleep: time.Sleep, Dial: pipeServer(begin, 0, 0),
			})
			require.NoError(t, err)
			require.Equal(t, probe.SchedulePoisson, r.start.Schedule)
			require.EqualValues(t, 7, r.start.Seed)
			want := count
			for next := poisson(100, 7); count == 0 && next() < 10*time.Second; {
				want++
			}
			require.Equal(t, want, r.totals.OK)
		})
	}
}
