// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"gonum.org/v1/gonum/stat/distuv"
)

// ranked is a sample of positive values in ascending order; ranks count from 0.
type ranked struct {
	n  int
	at func(rank int) float64
}

// rankedOf sorts values.
func rankedOf[T int64 | float64](values []T) ranked {
	sorted := slices.Sorted(slices.Values(values))
	return ranked{len(sorted), func(rank int) float64 { return float64(sorted[rank]) }}
}

// quantile is the smallest value that a share q of the sample does not exceed.
func (r ranked) quantile(q float64) float64 {
	return r.at(max(0, int(math.Ceil(q*float64(r.n)))-1))
}

// interval holds the quantile q of what was sampled with at least 95 % confidence,
// whatever its distribution. Where the sample is too small to bound it, an end is 0 or
// infinite.
func (r ranked) interval(q float64) (low, high float64) {
	i, j := quantileRanks(r.n, q)
	low, high = 0, math.Inf(1)
	if i >= 0 {
		low = r.at(i)
	}
	if j < r.n {
		high = r.at(j)
	}
	return low, high
}

// quantileRanks says which two of n ascending values bound that interval, each exceeded
// wrongly with a probability of at most 2.5 %; -1 and n where there is none. The binomial
// distribution gives the ranks (David and Nagaraja, Order Statistics, 7.1).
func quantileRanks(n int, q float64) (low, high int) {
	below := distuv.Binomial{N: float64(n), P: q} // how many values the quantile exceeds
	// The value at rank i exceeds the quantile when at most i are below it, and is below it
	// when more than i are.
	low = sort.Search(n, func(i int) bool { return below.CDF(float64(i)) > 0.025 }) - 1
	high = sort.Search(n, func(j int) bool { return 1-below.CDF(float64(j)) <= 0.025 })
	return low, high
}

// ratio is a path's quantile over that of its measure.
type ratio struct {
	q        float64
	measured float64
	// sure is the lower end of the path's interval over the upper end of the measure's: what
	// the ratio is at least.
	sure float64
}

func (r ratio) String() string {
	return fmt.Sprintf("p%.0f through the VIP is surely %.2f times that through the NodePort (measured: %.2f)", 100*r.q, r.sure, r.measured)
}

// over compares one quantile of two samples.
func (r ranked) over(measure ranked, q float64) ratio {
	least, _ := r.interval(q)
	_, most := measure.interval(q)
	return ratio{q: q, measured: r.quantile(q) / measure.quantile(q), sure: least / most}
}

// upper compares the quantiles from p55 to p90 in steps of 5 and returns the one whose
// ratio is surely the largest. One alone would be blind where it lies among requests that
// waited for the machine on both paths: how many they are, the others tell.
func (r ranked) upper(measure ranked) ratio {
	worst := r.over(measure, 0.9)
	for i := 11; i < 18; i++ {
		if x := r.over(measure, float64(i)/20); x.sure > worst.sure {
			worst = x
		}
	}
	return worst
}

// comparison is a path held against its measure.
type comparison struct{ p50, p90, upper ratio }

func compare(path, measure ranked) comparison {
	return comparison{p50: path.over(measure, 0.5), p90: path.over(measure, 0.9), upper: path.upper(measure)}
}

// figures tell of it; method has a place for the percentile.
func (c comparison) figures(what, method string, n int64) []Figure {
	const atLeast = "lower end of the 95 % interval of the VIP's / upper end of the NodePort's"
	return []Figure{
		{Name: what + " p50 ratio", Value: c.p50.measured, Unit: "ratio", N: n, Method: fmt.Sprintf(method, "p50")},
		{Name: what + " p90 ratio", Value: c.p90.measured, Unit: "ratio", N: n, Method: fmt.Sprintf(method, "p90")},
		{Name: what + " p50 ratio at least", Value: c.p50.sure, Unit: "ratio", N: n, Method: atLeast},
		{Name: what + " upper ratio at least", Value: c.upper.sure, Unit: "ratio", N: n, Method: "the largest of p55, p60 ... p90: " + atLeast},
	}
}

// beyond is the code of the limit that is surely exceeded, and what to say of it; "" where
// none is.
func (c comparison) beyond(limit50, limit90 float64) (code, message string) {
	switch {
	case c.p50.sure > limit50:
		return "p50-ratio", fmt.Sprintf("%s, limit %.2f", c.p50, limit50)
	case c.upper.sure > limit90:
		return "p90-ratio", fmt.Sprintf("%s, limit %.2f", c.upper, limit90)
	}
	return "", ""
}

func (c comparison) String() string {
	return fmt.Sprintf("%.2f and %.2f times the NodePort's p50 and p90, surely %.2f and %.2f", c.p50.measured, c.p90.measured, c.p50.sure, c.upper.sure)
}
