// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package load sends requests on a schedule that no slow answer can hold up (an
// open loop), and counts each one's latency from when it was due. A closed loop
// would send nothing during a stall and so leave the stall out of its
// percentiles: coordinated omission.
package load

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// Schedule says when each request of a constant rate is due.
type Schedule struct {
	Start time.Time
	Rate  float64 // requests per second, over 0
}

// Due is when request i, from 0, is due. It is computed from i alone, so that
// rounding does not add up.
func (s Schedule) Due(i int64) time.Time {
	return s.Start.Add(s.offset(i))
}

func (s Schedule) offset(i int64) time.Duration {
	return time.Duration(math.Round(float64(i) / s.Rate * float64(time.Second)))
}

// CountFor is how many requests are due in a duration: those at 0, 1/rate, ...,
// strictly before its end.
func (s Schedule) CountFor(d time.Duration) int64 {
	n := int64(math.Ceil(d.Seconds() * s.Rate))
	for n > 0 && s.offset(n-1) >= d {
		n--
	}
	for s.offset(n) < d {
		n++
	}
	return n
}

// arrivals gives how long after the start each request is due, one after the other.
type arrivals func() time.Duration

func newArrivals(c Config) arrivals {
	if c.Schedule == probe.SchedulePoisson {
		return poisson(c.Rate, c.Seed)
	}
	s, i := Schedule{Rate: c.Rate}, int64(-1)
	return func() time.Duration {
		i++
		return s.offset(i)
	}
}

// poisson is a Poisson process: users who know nothing of each other. The first request
// is due after the first gap. The sum is kept in units of the mean gap, in which 2^53
// keeps more than a microsecond of the mean for any run of up to 10^9 requests.
func poisson(rate float64, seed uint64) arrivals {
	random := rand.New(rand.NewPCG(seed, 0x6c6f6164)) // any constant: one seed, one sequence
	var sum float64
	return func() time.Duration {
		sum += random.ExpFloat64()
		return time.Duration(math.Round(sum / rate * float64(time.Second)))
	}
}
