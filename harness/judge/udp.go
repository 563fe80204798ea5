// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func udpEcho() Check {
	return Check{
		ID: "udp-echo", Family: "traffic",
		Title: "Datagrams through the VIP are answered, and every backend gets its share",
		Why: "UDP takes other ways than TCP: Cilium's hybrid mode returns one directly and the other through the announcer, stale conntrack entries " +
			"blackhole datagrams alone, and no handshake tells that one is lost (cilium #32601, #32091).",
		Method: "limits.requests datagrams to the VIP of policy Cluster and as many to that of policy Local, each from a new port and so a flow of its own, " +
			"open loop. Each must be answered by a backend that received all of it. Policy Cluster: the answers per backend are held to an even spread as in " +
			"every-backend-reached; policy Local: they must come from the announcer's node. With no loss in n datagrams the true share is below 3/n with 95 % " +
			"confidence. Datagrams of 32 bytes: large-datagrams sees to others.",
		Needs: []string{journal.ObsUDP, journal.ObsAnnouncement, journal.ObsARP},
		Codes: []string{"ok", "unreachable", "errors", "missing=N", "skew", "unknown-backend", "no-single-responder", "backend-off-announcer"},
		Judge: judgeUDP,
	}
}

func judgeUDP(f journal.Facts, sc scenario.Scenario) Verdict {
	const method = "datagrams of 32 bytes, each from a new port"
	var both []Verdict
	for _, purpose := range []string{forCluster, forLocal} {
		t, err := readLoad(f, journal.ObsUDP, journal.StreamUDP, purpose)
		if err != nil {
			return broken(err)
		}
		v, ok := t.answered(sc.Spec.Limits, method)
		if !ok {
			return v
		}
		if purpose == forLocal {
			if wrong, ok := placed(f, t, true); !ok {
				return wrong.with(v.Figures...)
			}
			both = append(both, v)
			continue
		}
		spread := t.spread(sc.Spec.Limits.BackendSkewAlpha)
		spread.Figures = append(v.Figures, spread.Figures...)
		if spread.Outcome != Passed {
			return spread
		}
		v.Message, v.Figures = v.Message+"; "+spread.Message, spread.Figures
		both = append(both, v)
	}
	v := pass("%s; policy Local: %s, all on the announcer", both[0].Message, both[1].Message)
	return v.with(both[0].Figures...).with(both[1].Figures...)
}
