// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"
	"slices"

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
			"the VIP over those through the NodePort must stay within limits.transferRatioP50 and P90 (the latter holds from p55 on, in steps of 5), held against them by the ends of both " +
			"distribution-free 95 % intervals that speak for the VIP, for a few transfers that a busy machine held up are no property of a path. Rates are reported " +
			"and never judged: on a shared machine they tell of the machine. The ratio of pairs is given with such an interval, so that its noise is seen. A path " +
			"that is slower by less than the limit is missed, and with the default of 40 one that holds up fewer than 9 transfers; with fewer than 36 the p90 itself decides nothing.",
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
	a, b := rankedOf(vip.durations()), rankedOf(port.durations())
	if min(a.n, b.n) < minTransfers || a.at(0) <= 0 || b.at(0) <= 0 {
		return broken(fmt.Errorf("%d and %d transfers are too few, %d each are needed", a.n, b.n, minTransfers))
	}
	ratios := compare(a, b)
	low, high := pairInterval(vip, port)
	n := int64(a.n)
	rate := func(ns float64) float64 { return float64(vip.target.Bytes) / 1e6 / (ns / 1e9) }
	size := fmt.Sprintf("response of %g MiB", float64(vip.target.Bytes)/(1<<20))
	figures := slices.Concat([]Figure{
		{Name: "VIP rate", Value: rate(a.quantile(0.5)), Unit: "MB/s", N: n, Method: size + " over its p50 time"},
		{Name: "NodePort rate", Value: rate(b.quantile(0.5)), Unit: "MB/s", N: int64(b.n), Method: size + " over its p50 time"},
	}, ratios.figures("transfer", "%s of the time through the VIP / through the NodePort, in turns", n), []Figure{
		{Name: "pair ratio low", Value: low, Unit: "ratio", N: n, Method: "lower end of the 95 % interval of the median ratio of neighbours"},
		{Name: "pair ratio high", Value: high, Unit: "ratio", N: n, Method: "upper end of that interval"},
	})
	if code, message := ratios.beyond(limits.TransferRatioP50, limits.TransferRatioP90); code != "" {
		return fail(code, "a transfer's %s", message).with(figures...)
	}
	return pass("%d transfers each: %.0f MB/s through the VIP, %.0f through the NodePort; the times are %s (pairs: %.2f to %.2f)",
		n, figures[0].Value, figures[1].Value, ratios, low, high).with(figures...)
}

// pairInterval is the 95 % interval of the median ratio of neighbouring transfers.
func pairInterval(vip, port exchanged) (low, high float64) {
	var ratios []float64
	for i := range min(len(vip.results), len(port.results)) {
		if a, b := vip.results[i], port.results[i]; a.ErrorKind == "" && b.ErrorKind == "" && b.DurationNS > 0 {
			ratios = append(ratios, float64(a.DurationNS)/float64(b.DurationNS))
		}
	}
	return rankedOf(ratios).interval(0.5)
}
