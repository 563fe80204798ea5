// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"
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
			"answers a share q of n broadcasts is missed with probability (1-q)^n: 20 find one that answers 21 of 100 with p >= 0.99. Half of the broadcasts must " +
			"be answered, and not 90 % as for the Services under test: a thousand VIPs on one machine wait for one another. The sweep begins when each VIP had " +
			"one responder, or after 30 s.",
		Needs:   []string{journal.ObsMore},
		Codes:   []string{"ok", "responders=N", "responders=N+M", "foreign-responder", "unanswered"},
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
	c := crowd{held: map[string]int{}}
	for _, t := range vips {
		if s.sent[t.Address] == 0 {
			return broken(fmt.Errorf("no who-has was sent for %s (%s)", t.Address, t.Service))
		}
		c.count(s, t)
	}
	n := len(vips)
	figures := append(c.figures(n), s.power(vips[0]))
	if len(c.words) > 0 {
		return fail(c.code(), "%d of %d VIPs are not answered by one node: %s", len(c.words), n, c.told()).with(figures...)
	}
	return pass("each of %d VIPs is answered by one MAC; %d MACs announce up to %d each", n, len(c.held), c.most()).with(figures...)
}

// minMoreAnswered is the share of broadcasts for a VIP that must have been answered.
const minMoreAnswered = 0.5

// crowd is who answers for many VIPs.
type crowd struct {
	held    map[string]int // VIPs by the MAC that alone answers for them
	silent  int            // VIPs that nobody answers for
	wrong   []int          // responders of the VIPs that have not just one
	foreign bool           // a MAC that alone answers is no node's
	lagging bool           // a VIP's broadcasts were not all answered
	words   []string       // what is wrong, by VIP
}

func (c *crowd) count(s sweep, t journal.Target) {
	macs := s.macs(t.Address)
	say := func(what string) { c.words = append(c.words, fmt.Sprintf("%s (%s): %s", t.Address, t.Service, what)) }
	if len(macs) == 0 {
		c.silent++
	}
	if len(macs) != 1 {
		c.wrong = append(c.wrong, len(macs))
		say(s.describe(macs))
		return
	}
	c.held[macs[0]]++
	sent, answered := s.sent[t.Address], s.answered[t.Address]
	if _, ok := nodeByMAC(s.topo, macs[0]); !ok {
		c.foreign = true
		say(s.describe(macs))
	} else if float64(answered) < minMoreAnswered*float64(sent) {
		c.lagging = true
		say(fmt.Sprintf("%d of %d broadcasts were answered", answered, sent))
	}
}

// code is the gravest of what is wrong.
func (c *crowd) code() string {
	switch {
	case len(c.wrong) > 0:
		return responderCode(c.wrong)
	case c.foreign:
		return "foreign-responder"
	}
	return "unanswered"
}

// told names the first few VIPs; the journal has them all.
func (c *crowd) told() string {
	const few = 5
	if len(c.words) <= few {
		return strings.Join(c.words, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(c.words[:few], "; "), len(c.words)-few)
}

func (c *crowd) most() int {
	most := 0
	for _, n := range c.held {
		most = max(most, n)
	}
	return most
}

func (c *crowd) figures(vips int) []Figure {
	n := int64(vips)
	return []Figure{
		{Name: "answered", Value: float64(vips - c.silent), Unit: "VIPs", N: n, Method: "VIPs that anybody answered for"},
		{Name: "answered by one", Value: float64(vips - len(c.wrong)), Unit: "VIPs", N: n, Method: "VIPs with one distinct sender MAC"},
		{Name: "announcers", Value: float64(len(c.held)), Unit: "MACs", N: n, Method: "distinct MACs that alone answer for a VIP"},
		{Name: "most on one", Value: float64(c.most()), Unit: "VIPs", N: n, Method: "VIPs of the MAC with the most of them"},
	}
}
