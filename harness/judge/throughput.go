// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func throughput() Check {
	return Check{
		ID: "throughput", Family: "latency",
		Title: "A large response through the VIP comes as fast as through the NodePort",
		Why: "A path can answer small requests at once and carry little: retransmissions for an MTU that was not counted in (cilium #26723), offloads that a " +
			"rewrite turns off, or replies that take a detour through the announcer show in bulk only.",
		Method: "limits.transfers responses of 8 MiB, every byte checked, through the VIP whose backends are all off its announcer, and as many through the NodePort " +
			"on that announcer: the same backends by the same machines. One at a time, in turns, each on a new connection. The p50 and p90 of the times through " +
			"the VIP over those through the NodePort must stay within limits.transferRatioP50 and P90, held against them by the ends of both " +
			"distribution-free 95 % intervals that speak for the VIP, for a few transfers that a busy machine held up are no property of a path. Rates are reported " +
			"and never judged: on a shared machine they tell of the machine. The ratio of pairs is given with such an interval, so that its noise is seen. A path " +
			"that is slower by less than the limit is missed, and with the default of 40 one that holds up fewer than 9 transfers.",
		Needs: []string{journal.ObsThroughput},
		Codes: latencyCodes(),
		Judge: judgeThroughput,
	}
}

// minTransfers is how many transfers a p90 needs to be more than the largest.
const minTransfers = 10

func judgeThroughput(f journal.Facts, sc scenario.Scenario) Verdict {
	all, err := readExchanges(f, journal.ObsThroughput, journal.StreamBulk)
	if err != nil {
		return broken(err)
	}
	var vip, port exchanged
	for _, e := range all {
		switch e.target.Kind {
		case journal.TargetVIP:
			vip = e
		case journal.TargetNodePort:
			port = e
		}
	}
	limits := sc.Spec.Limits
	switch {
	case vip.target.Name == "" || port.target.Name == "":
		return broken(fmt.Errorf("throughput needs a VIP and a NodePort path"))
	case vip.target.Bytes != port.target.Bytes || vip.target.Bytes <= 0:
		return broken(fmt.Errorf("%d bytes through the VIP cannot be held against %d through the NodePort", vip.target.Bytes, port.target.Bytes))
	case port.tooMany(limits.MaxErrorRatio):
		return broken(fmt.Errorf("%d of %d transfers on the NodePort path %s, the measure of the VIP path, failed (%s)",
			port.failed, len(port.results), port.target.Address, errorWords(port.kinds)))
	case vip.failed == len(vip.results):
		return fail("unreachable", "none of %d transfers from %s came whole: %s", vip.failed, vip.target.Address, errorWords(vip.kinds))
	case vip.tooMany(limits.MaxErrorRatio):
		return fail("errors", "%d of %d transfers from %s failed (%s)", vip.failed, len(vip.results), vip.target.Address, errorWords(vip.kinds))
	}
	a, b := vip.durations(), port.durations()
	if min(len(a), len(b)) < minTransfers || a[0] <= 0 || b[0] <= 0 {
		return broken(fmt.Errorf("%d and %d transfers are too few, %d each are needed", len(a), len(b), minTransfers))
	}
	r50, r90 := float64(quantile(a, 0.5))/float64(quantile(b, 0.5)), float64(quantile(a, 0.9))/float64(quantile(b, 0.9))
	sure := func(q float64) float64 {
		least, _ := quantileInterval(a, q)
		_, most := quantileInterval(b, q)
		return float64(least) / float64(most)
	}
	sure50, sure90 := sure(0.5), sure(0.9)
	low, high := pairInterval(vip, port)
	n := int64(len(a))
	rate := func(ns int64) float64 { return float64(vip.target.Bytes) / 1e6 / (float64(ns) / 1e9) }
	figures := []Figure{
		{Name: "VIP rate", Value: rate(quantile(a, 0.5)), Unit: "MB/s", N: n, Method: "response of 8 MiB over its p50 time"},
		{Name: "NodePort rate", Value: rate(quantile(b, 0.5)), Unit: "MB/s", N: int64(len(b)), Method: "response of 8 MiB over its p50 time"},
		{Name: "transfer p50 ratio", Value: r50, Unit: "ratio", N: n, Method: "p50 of the time through the VIP / through the NodePort, in turns"},
		{Name: "transfer p90 ratio", Value: r90, Unit: "ratio", N: n, Method: "p90 of the time through the VIP / through the NodePort, in turns"},
		{Name: "transfer p50 ratio at least", Value: sure50, Unit: "ratio", N: n, Method: atLeast},
		{Name: "transfer p90 ratio at least", Value: sure90, Unit: "ratio", N: n, Method: atLeast},
		{Name: "pair ratio low", Value: low, Unit: "ratio", N: n, Method: "lower end of the 95 % interval of the median ratio of neighbours"},
		{Name: "pair ratio high", Value: high, Unit: "ratio", N: n, Method: "upper end of that interval"},
	}
	switch {
	case sure50 > limits.TransferRatioP50:
		return fail("p50-ratio", "a transfer's "+surely, "p50", sure50, r50, limits.TransferRatioP50).with(figures...)
	case sure90 > limits.TransferRatioP90:
		return fail("p90-ratio", "a transfer's "+surely, "p90", sure90, r90, limits.TransferRatioP90).with(figures...)
	}
	return pass("%d transfers each: %.0f MB/s through the VIP, %.0f through the NodePort; the times are %.2f and %.2f times the NodePort's p50 and p90 (pairs: %.2f to %.2f)",
		n, figures[0].Value, figures[1].Value, r50, r90, low, high).with(figures...)
}

// quantile is the smallest of ascending values that a share q of them does not exceed.
func quantile(sorted []int64, q float64) int64 {
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// quantileInterval is the interval between two of ascending values that holds the
// quantile q with at least 95 % confidence, whatever their distribution.
func quantileInterval[T any](sorted []T, q float64) (low, high T) {
	i, j := quantileRanks(len(sorted), q)
	return sorted[i], sorted[j]
}

// quantileRanks says which two of n ascending values, from 0, bound that interval, where
// there are enough of them: the binomial distribution gives the ranks (David and
// Nagaraja, Order Statistics, 7.1).
func quantileRanks(n int, q float64) (low, high int) {
	below := distuv.Binomial{N: float64(n), P: q} // how many values the quantile exceeds
	low, high = 0, n-1
	for low+1 < n && below.CDF(float64(low+1)) <= 0.025 {
		low++ // the value at low exceeds the quantile with the probability of at most low below it
	}
	for high > low && 1-below.CDF(float64(high-1)) <= 0.025 {
		high-- // the value at high is below it with the probability of more than high below it
	}
	return low, high
}

// pairInterval is that interval of the median ratio of neighbouring transfers.
func pairInterval(vip, port exchanged) (low, high float64) {
	var ratios []float64
	for i := range min(len(vip.results), len(port.results)) {
		if a, b := vip.results[i], port.results[i]; a.ErrorKind == "" && b.ErrorKind == "" && b.DurationNS > 0 {
			ratios = append(ratios, float64(a.DurationNS)/float64(b.DurationNS))
		}
	}
	if len(ratios) == 0 {
		return 0, math.Inf(1)
	}
	slices.Sort(ratios)
	return quantileInterval(ratios, 0.5)
}
