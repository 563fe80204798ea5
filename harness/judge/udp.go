// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func udpEcho() Check {
	return Check{
		ID: "udp-echo", Family: "traffic",
		Title: "Datagrams through the VIP are answered, and every backend gets its share",
		Why: "UDP takes other ways than TCP: Cilium's hybrid mode returns one directly and the other through the announcer, stale conntrack entries " +
			"blackhole datagrams alone, no handshake tells that one is lost, and with DSR answers came from the wrong address with nothing counted as a drop " +
			"(cilium #32091, #32601).",
		Method: "limits.requests datagrams to the VIP of policy Cluster, each from a port of its own, then as many from the same ports to that of policy Local, " +
			"as a client's ports come again. Open loop. Each must be answered, from the address that was asked (the socket takes others too, so that a wrong source is " +
			"told from a loss), by a backend that received all of it. Policy Cluster: the answers per backend are held to an even spread as in every-backend-reached; " +
			"policy Local: they must come from the announcer's node. With no loss in n datagrams the true share is below 3/n with 95 % confidence. Datagrams of 32 " +
			"bytes: large-datagrams sees to others.",
		Needs: []string{journal.ObsUDP, journal.ObsAnnouncement, journal.ObsARP},
		Codes: []string{"ok", "unreachable", "wrong-source", "errors", "missing=N", "skew", "unknown-backend", "no-single-responder", "backend-off-announcer"},
		Judge: judgeUDP,
	}
}

func judgeUDP(f journal.Facts, sc scenario.Scenario) Verdict {
	const method = "datagrams of 32 bytes"
	var both []Verdict
	for _, purpose := range []string{forCluster, forLocal} {
		t, e, err := readDatagrams(f, purpose)
		if err != nil {
			return broken(err)
		}
		if n := e.kinds[probe.ErrorWrongSource]; n > 0 {
			return fail("wrong-source", "%d of %d datagrams to %s (%s) were answered from another address; the first: %s",
				n, len(e.results), t.service.VIP, t.service.Name, e.firstOf(probe.ErrorWrongSource)).
				with(Figure{Name: t.service.Name + " wrong sources", Value: float64(n), Unit: "answers", N: int64(len(e.results)), Method: method})
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
	v := pass("%s; policy Local, from the same ports: %s, all on the announcer", both[0].Message, both[1].Message)
	return v.with(both[0].Figures...).with(both[1].Figures...)
}

// readDatagrams reads the datagrams to the Service of a purpose, also as traffic.
func readDatagrams(f journal.Facts, purpose string) (traffic, exchanged, error) {
	var t traffic
	var err error
	if t.topo, err = f.Topology(); err != nil {
		return t, exchanged{}, err
	}
	if t.objs, err = objects(f, journal.ObsAnnouncement); err != nil {
		return t, exchanged{}, err
	}
	if t.service, err = service(t.objs, purpose); err != nil {
		return t, exchanged{}, err
	}
	all, err := readExchanges(f, journal.ObsUDP, journal.StreamUDP+"@"+t.service.Name)
	if err != nil {
		return t, exchanged{}, err
	}
	e := all[0]
	t.peers.Backends = map[string]probe.BackendCount{}
	for _, r := range e.results {
		if r.ErrorKind != "" {
			continue
		}
		if r.Pod == "" {
			return t, e, fmt.Errorf("%s: the answer to datagram %d names nobody", t.service.Name, r.Number)
		}
		b, again := t.peers.Backends[r.Pod]
		if !again {
			b = probe.BackendCount{Pod: r.Pod, Node: r.Node, Protocol: "udp", Peers: map[string]int{}}
		}
		b.Responses++
		b.Peers[r.Peer]++
		t.peers.Backends[r.Pod] = b
	}
	n := int64(len(e.results))
	t.totals = probe.LoadTotals{Scheduled: n, Completed: n, OK: n - int64(e.failed), Errors: int64(e.failed), ErrorKinds: e.kinds}
	return t, e, nil
}
