// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func moreVIPsAnswered() Check {
	return Check{
		ID: "more-vips-answered", Family: "segment",
		Title: "Exactly one MAC answers ARP for the VIP of each of many Services",
		Why: "What holds for six Services need not for a thousand: speakers elect for each Service by themselves, and one that lags behind, or that " +
			"others do not hear in time, keeps or loses VIPs that it should not.",
		Method: "Judged where spec.loadBalancer.moreServices is not zero. The observer broadcasts 20 who-has for each of their VIPs, a thousand a second in " +
			"all, and counts distinct sender MACs. Every node must answer 90 % of the who-has for its own address in the same sweep. A second responder that " +
			"answers a share q of n broadcasts is missed with probability (1-q)^n: 20 find one that answers 21 of 100 with p >= 0.99. The frames count for " +
			"whether a VIP is answered at all and by how many, not for how many of them were: with a thousand VIPs on one machine they wait for one another.",
		Needs:   []string{journal.ObsMore},
		Codes:   []string{"ok", "responders=N", "responders=N+M"},
		Applies: func(sc scenario.Scenario) bool { return sc.Spec.LoadBalancer.MoreServices > 0 },
		Judge:   judgeMore,
	}
}

func judgeMore(f journal.Facts, sc scenario.Scenario) Verdict {
	s, err := readSweepOf(f, journal.ObsMore)
	if err != nil {
		return broken(err)
	}
	vips := s.kind(journal.TargetVIP)
	if want := sc.Spec.LoadBalancer.MoreServices; len(vips) != want {
		return broken(fmt.Errorf("%d VIPs were asked for, and the scenario has %d more Services", len(vips), want))
	}
	var wrong []int
	var words []string
	held := map[string]int{} // by the MAC that alone answers
	answered := 0
	for _, t := range vips {
		if s.sent[t.Address] == 0 {
			return broken(fmt.Errorf("no who-has was sent for %s (%s)", t.Address, t.Service))
		}
		macs := s.macs(t.Address)
		if len(macs) > 0 {
			answered++
		}
		if len(macs) == 1 {
			held[macs[0]]++
			continue
		}
		wrong = append(wrong, len(macs))
		words = append(words, fmt.Sprintf("%s (%s): %s", t.Address, t.Service, s.describe(macs)))
	}
	most := 0
	for _, n := range held {
		most = max(most, n)
	}
	n := int64(len(vips))
	figures := []Figure{
		{Name: "answered", Value: float64(answered), Unit: "VIPs", N: n, Method: "VIPs that anybody answered for"},
		{Name: "answered by one", Value: float64(len(vips) - len(wrong)), Unit: "VIPs", N: n, Method: "VIPs with one distinct sender MAC"},
		{Name: "announcers", Value: float64(len(held)), Unit: "MACs", N: n, Method: "distinct MACs that alone answer for a VIP"},
		{Name: "most on one", Value: float64(most), Unit: "VIPs", N: n, Method: "VIPs of the MAC with the most of them"},
		s.power(vips[0]),
	}
	if len(wrong) > 0 {
		count := len(wrong)
		if len(words) > 5 { // the journal has them all
			words = append(words[:5], fmt.Sprintf("and %d more", count-5))
		}
		return fail(responderCode(slices.Clone(wrong)), "%d of %d VIPs have not just one responder: %s", count, n, strings.Join(words, "; ")).with(figures...)
	}
	return pass("each of %d VIPs is answered by one MAC; %d MACs announce up to %d each", n, len(held), most).with(figures...)
}
