// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

const vipSix = "fd00::1000"

// dual is a healthy cluster with IPv6 beside IPv4, whose IPv6 VIP a worker announces.
func dual() *world {
	w := healthy()
	w.spec.Spec.Cluster.IPFamily = scenario.Dual
	w.phases = []journal.PlannedPhase{{Name: journal.PhaseBaseline, Checks: judge.For(w.spec)}}
	for i := range w.topology.Nodes {
		n := &w.topology.Nodes[i]
		n.Address6 = fmt.Sprintf("fd00::%d", i+1)
		w.arp[n.Address6] = map[string]int{n.MAC: 1}
		w.proofs[i].Sysctls["net.ipv6.conf.all.forwarding"] = "1\n"
	}
	w.six, w.requests6.answered = vipSix, 400
	w.arp[vipSix] = map[string]int{mac(2): 1}
	return w
}

func (w *world) observeNDP(o *journal.Observation) error {
	targets := []journal.Target{{Service: "echo-six", Kind: journal.TargetVIP, Address: w.six, Stream: journal.StreamNDP}}
	for _, n := range w.topology.Nodes {
		targets = append(targets, journal.Target{Kind: journal.TargetNodeAddress, Address: n.Address6, Node: n.Name, Stream: journal.StreamNDP})
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	l := &lines{out: o.Stream(journal.StreamNDP)}
	l.start(probe.NDPArgs{})
	totals := probe.NDPTotals{KernelDrops: w.drops}
	for round := range w.probes {
		for _, t := range targets {
			if t.Address == "" {
				continue
			}
			addr := netip.MustParseAddr(t.Address)
			l.add(probe.KindNDPProbe, probe.NDPProbe{Probe: round, Target: addr, SentNS: int64(1000 * round)})
			totals.Sent++
			for m, every := range w.arp[t.Address] {
				if every == 0 || round%every != 0 {
					continue
				}
				r := probe.NDPReply{Probe: round, Target: addr, TargetMAC: m, EthernetSource: m, ReceivedNS: int64(1000*round) + 1}
				if w.optionless {
					r.TargetMAC = ""
				}
				l.add(probe.KindNDPReply, r)
				totals.Replies++
			}
		}
	}
	return l.end(totals)
}

func (w *world) observeTraffic6(o *journal.Observation) error {
	if w.six == "" {
		return o.Write(journal.KindPaths, journal.Paths{Unmeasured: &journal.Unmeasured{Service: "echo-six"}})
	}
	target := journal.Target{Name: "echo-six", Service: "echo-six", Kind: journal.TargetVIP, Address: "[" + w.six + "]:80", Stream: journal.StreamHTTP6}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: []journal.Target{target}}); err != nil {
		return err
	}
	l := &lines{out: o.Stream(journal.StreamHTTP6)}
	l.start(probe.LoadArgs{})
	r := w.requests6
	t := probe.LoadTotals{Scheduled: r.answered + r.errors + r.dropped, Completed: r.answered + r.errors, OK: r.answered, Errors: r.errors, Dropped: r.dropped}
	for range r.errors {
		l.add(probe.KindLoadError, probe.LoadError{Target: "echo-six", ErrorKind: probe.ErrorTimeout})
	}
	if r.errors > 0 {
		t.ErrorKinds = map[string]int64{probe.ErrorTimeout: r.errors}
	}
	return l.end(probe.LoadTotals{Targets: map[string]probe.LoadTotals{"echo-six": t}, Errors: r.errors})
}

func TestDualStack(t *testing.T) {
	for _, id := range []string{"ndp-single-responder", "reachable-ipv6"} {
		require.NotContains(t, judge.For(healthy().spec), id, "there is no IPv6")
	}
	for id, c := range verdicts(t, dual()) {
		require.Equal(t, judge.ResultPassed, c.Result, "%s: %s", id, c.Verdict.Message)
	}
	const forwarding = "baseline/forwarding-enabled"
	const ndp, reachable = "baseline/ndp-single-responder", "baseline/reachable-ipv6"
	for name, tc := range map[string]struct {
		change    func(*world)
		check     string
		code, say string
	}{
		"nobody answers":                     {func(w *world) { w.arp[vipSix] = nil }, ndp, "responders=0", "fd00::1000 (echo-six): nobody answers"},
		"two answer":                         {func(w *world) { w.arp[vipSix][mac(1)] = 1 }, ndp, "responders=2", mac(1) + " (worker), " + mac(2) + " (worker2)"},
		"a second answers rarely":            {func(w *world) { w.arp[vipSix][mac(1)] = 10 }, ndp, "responders=2", "worker2"},
		"every second is answered":           {func(w *world) { w.arp[vipSix] = map[string]int{mac(2): 2} }, ndp, "unanswered", "only 10 of 20 solicitations"},
		"without the option":                 {func(w *world) { w.optionless = true }, ndp, "ok", mac(2)},
		"two answer, of them a stranger":     {func(w *world) { w.arp[vipSix][mac(77)] = 1 }, ndp, "responders=2", mac(77) + " (no node)"},
		"frames were lost":                   {func(w *world) { w.drops = 1 }, ndp, "no-data", "dropped 1 NDP frames"},
		"a node did not answer":              {func(w *world) { w.arp["fd00::3"] = nil }, ndp, "no-data", "positive control"},
		"it has no VIP":                      {func(w *world) { w.six = "" }, ndp, "vip-unassigned", "echo-six"},
		"it has no VIP to ask":               {func(w *world) { w.six = "" }, reachable, "vip-unassigned", "echo-six"},
		"no request is answered":             {func(w *world) { w.requests6.answered, w.requests6.errors = 0, 400 }, reachable, "unreachable", "none of 400 requests to [fd00::1000]:80"},
		"none is, and some were not sent":    {func(w *world) { w.requests6.answered, w.requests6.errors, w.requests6.dropped = 0, 300, 100 }, reachable, "unreachable", "none of 300 requests"},
		"one is not, and some were not sent": {func(w *world) { w.requests6.errors, w.requests6.dropped = 1, 100 }, reachable, "no-data", "never sent 100 of 501"},
		"one request is not":                 {func(w *world) { w.requests6.errors = 1 }, reachable, "errors", "1 of 401"},
		"the client was too slow":            {func(w *world) { w.requests6.dropped = 3 }, reachable, "no-data", "never sent 3 of 403"},
		"one node does not forward":          {func(w *world) { w.proofs[1].Sysctls["net.ipv6.conf.all.forwarding"] = "0\n" }, forwarding, "ipv6_forwarding=0", "is 0 on worker"},
		"a node was not asked":               {func(w *world) { delete(w.proofs[1].Sysctls, "net.ipv6.conf.all.forwarding") }, forwarding, "no-data", "worker"},
		"IPv4's trouble is its own":          {func(w *world) { w.arp[vipCluster] = nil }, ndp, "ok", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := dual()
			tc.change(w)
			v := verdicts(t, w)[tc.check].Verdict
			require.Equal(t, tc.code, v.Code, v.Message)
			require.Contains(t, v.Message, tc.say)
		})
	}
}
