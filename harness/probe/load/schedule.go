// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package load sends requests on a schedule that no slow answer can hold up (an
// open loop), and counts each one's latency from when it was due. A closed loop
// would send nothing during a stall and so leave the stall out of its
// percentiles: coordinated omission.
package load

import (
	"math"
	"time"
)

// Schedule says when each request is due.
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
