// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// traffic is what an observation saw of one Service.
type traffic struct {
	service journal.Service
	objs    journal.Objects
	topo    journal.Topology
	totals  probe.LoadTotals
	peers   probe.LoadPeers
	errors  []probe.LoadError
	again   []Finding // runs that were made again, for want of requests
}

// sent is a run whose requests are counted, with what is to be said of earlier attempts.
type sent struct {
	load
	again []Finding
}

// readTraffic reads the traffic to the Service of a purpose.
func readTraffic(f journal.Facts, purpose string) (traffic, error) {
	var t traffic
	var err error
	if t.topo, err = f.Topology(); err != nil {
		return t, err
	}
	if t.objs, err = objects(f, journal.ObsAnnouncement); err != nil {
		return t, err
	}
	if t.service, err = service(t.objs, purpose); err != nil {
		return t, err
	}
	span, err := f.Observation(journal.ObsTraffic)
	if err != nil {
		return t, err
	}
	paths, err := readPaths(f, span)
	if err != nil {
		return t, err
	}
	if t.service.VIP == "" {
		return t, &unassignedError{t.service.Name}
	}
	// One run asks the VIPs of all purposes.
	sent, err := journal.Once(f, "traffic", func(journal.Facts) (sent, error) {
		l, again, err := sentRun(span, paths, journal.StreamHTTP)
		return sent{l, again}, err
	})
	if err != nil {
		return t, err
	}
	l := sent.load
	t.again = sent.again
	if t.totals, err = l.target(t.service.Name); err != nil {
		return t, err
	}
	t.peers, t.errors = l.peers[t.service.Name], l.errors[t.service.Name]
	answered := int64(0)
	for _, b := range t.peers.Backends {
		answered += int64(b.Responses)
	}
	if answered != t.totals.OK {
		return t, fmt.Errorf("%s: %d answers were counted by backend, %d by request", t.service.Name, answered, t.totals.OK)
	}
	return t, nil
}

func reachable(policy string) Check {
	k8sPolicy := strings.ToUpper(policy[:1]) + policy[1:]
	return Check{
		ID: "reachable-" + policy + "-policy", Family: "traffic",
		Title: "The VIP with externalTrafficPolicy " + k8sPolicy + " answers every new connection",
		Why: map[string]string{
			"cluster": "Requests that enter at the announcer and have their backend elsewhere were lost by Cilium with MetalLB L2 (cilium #9116, " +
				"#12895), and by nodes that do not forward.",
			"local": "Policy Local timed out behind MetalLB with Cilium's kube-proxy replacement (cilium #31333) and after a while in general (metallb #2561).",
		}[policy],
		Method: "limits.requests HTTP requests, each on a new connection, open loop, by a client whose neighbour entry was dropped before. " +
			"With no failure in n requests the true failure share is below 3/n with 95 % confidence. A run in which the client left requests unsent, " +
			"and none failed, is made again at half the rate, twice at most. Policy Local: every answer must come from the announcer's node.",
		Needs: []string{journal.ObsTraffic, journal.ObsAnnouncement, journal.ObsARP},
		Codes: []string{"ok", "errors", "unreachable", "no-single-responder", "backend-off-announcer"},
		Judge: func(f journal.Facts, sc scenario.Scenario) Verdict { return judgeReachable(f, sc, k8sPolicy) },
	}
}

func reachableIPv6() Check {
	return Check{
		ID: "reachable-ipv6", Family: "traffic",
		Title: "The IPv6 VIP answers every new connection",
		Why: "Each family has rules, forwarding and neighbours of its own: a cluster that serves IPv4 may drop IPv6 on the way to a backend elsewhere " +
			"(net.ipv6.conf.all.forwarding is another switch than ip_forward), and nothing of IPv4 shows it.",
		Method: "Judged where spec.cluster.ipFamily is dual. limits.requests HTTP requests to the VIP of a Service with IPv6 alone, each on a new connection, " +
			"open loop, by a client whose neighbour entries were dropped before. With no failure in n requests the true failure share is below 3/n with 95 % confidence. Repeated as reachable-cluster-policy is.",
		Needs:   []string{journal.ObsTraffic6},
		Codes:   []string{"ok", "errors", "unreachable"},
		Applies: dualStack,
		Judge:   judgeReachableIPv6,
	}
}

func judgeReachableIPv6(f journal.Facts, sc scenario.Scenario) Verdict {
	span, err := f.Observation(journal.ObsTraffic6)
	if err != nil {
		return broken(err)
	}
	paths, err := readPaths(f, span)
	if err != nil {
		return broken(err)
	}
	if len(paths.Targets) != 1 {
		return broken(fmt.Errorf("%d targets of IPv6 were asked, want 1", len(paths.Targets)))
	}
	run, again, err := sentRun(span, paths, journal.StreamHTTP6)
	if err != nil {
		return broken(err)
	}
	target := paths.Targets[0]
	totals, err := run.target(target.Name)
	if err != nil {
		return broken(err)
	}
	t := traffic{service: journal.Service{Name: target.Service, VIP: target.Address}, totals: totals, again: again}
	v, _ := t.answered(sc.Spec.Limits, "HTTP GET over IPv6 on new connections")
	return v
}

func backendOffAnnouncer() Check {
	return Check{
		ID: "backend-off-announcer", Family: "traffic",
		Title: "Requests whose backend is on another node than the announcer are answered",
		Why: "The path from the announcer to another node is where bare-metal load balancers fail: an announcer that does not forward drops them " +
			"without a trace, and Cilium with MetalLB L2 lost them (cilium #9116, #12895).",
		Method: "limits.requests HTTP requests to a Service of policy Cluster whose endpoints are all off the node that answers ARP for it. Every " +
			"answer must come from another node than the announcer. With no failure in n requests the true failure share is below 3/n with 95 % confidence. Repeated as reachable-cluster-policy is.",
		Needs: []string{journal.ObsTraffic, journal.ObsAnnouncement, journal.ObsARP},
		Codes: []string{"ok", "errors", "unreachable", "no-single-responder", "backend-on-announcer"},
		Judge: func(f journal.Facts, sc scenario.Scenario) Verdict { return judgeReachable(f, sc, forRemote) },
	}
}

func backendOnAnnouncer() Check {
	return Check{
		ID: "backend-on-announcer", Family: "traffic",
		Title: "Requests whose only backends are on the announcer are answered",
		Why: "A data plane that handles what it forwards can lose what it delivers itself: with Cilium's kube-proxy replacement and DSR a backend " +
			"on the node that announces was not reached (cilium #31689).",
		Method: "limits.requests HTTP requests to a Service of policy Cluster whose endpoints are all on the node that answers ARP for it. Every " +
			"answer must come from there. With no failure in n requests the true failure share is below 3/n with 95 % confidence. Repeated as reachable-cluster-policy is.",
		Needs: []string{journal.ObsTraffic, journal.ObsAnnouncement, journal.ObsARP},
		Codes: []string{"ok", "errors", "unreachable", "no-single-responder", "backend-off-announcer"},
		Judge: func(f journal.Facts, sc scenario.Scenario) Verdict { return judgeReachable(f, sc, journal.RoleNear) },
	}
}

func judgeReachable(f journal.Facts, sc scenario.Scenario, purpose string) Verdict {
	t, err := readTraffic(f, purpose)
	if err != nil {
		return broken(err)
	}
	v, ok := t.answered(sc.Spec.Limits, "HTTP GET on new connections")
	if !ok {
		return v
	}
	if purpose != forCluster {
		if wrong, ok := placed(f, t, purpose != forRemote); !ok {
			return wrong.with(v.Figures...)
		}
	}
	return v
}

// sentRun reads the last attempt at a run whose requests are counted, and tells of those
// before: each must have left requests unsent while none failed.
func sentRun(span journal.Span, paths journal.Paths, stream string) (load, []Finding, error) {
	again, err := discarded(span, paths, stream, probe.LoadTotals.Unsent)
	if err != nil {
		return load{}, nil, err
	}
	last := stream
	for _, t := range paths.Targets {
		if journal.BaseStream(t.Stream) == stream {
			last = t.Stream
		}
	}
	l, err := loadRun(span, last)
	return l, again, err
}

// answered holds the requests to one Service to the error limit. It is not ok when they
// failed, or when the client did not send them all. Where none that was sent was answered the
// others would tell nothing new: it may be for want of answers that they were not.
func (t traffic) answered(limits scenario.Limits, method string) (v Verdict, ok bool) {
	silent := t.totals.OK == 0 && t.totals.Errors > 0
	if t.totals.Dropped+t.totals.Cancelled > 0 && !silent {
		return broken(fmt.Errorf("%s: the client never sent %d of %d requests", t.service.Name, t.totals.Dropped+t.totals.Cancelled, t.totals.Scheduled)).found(t.again...), false
	}
	n := t.totals.Completed
	ratio := float64(t.totals.Errors) / float64(n)
	figure := Figure{Name: t.service.Name + " failed requests", Value: float64(t.totals.Errors), Unit: "requests", N: n, Method: method}
	switch {
	case t.totals.OK == 0:
		return fail("unreachable", "none of %d requests to %s was answered: %s", n, t.service.VIP, errorWords(t.totals.ErrorKinds)).with(figure).found(t.again...), false
	case ratio > limits.MaxErrorRatio:
		return fail("errors", "%d of %d requests to %s failed (%s); limit %.3g", t.totals.Errors, n, t.service.VIP,
			errorWords(t.totals.ErrorKinds), limits.MaxErrorRatio).with(figure).found(t.again...), false
	}
	return pass("%d of %d requests to %s answered: the failure share is below %.2g %% with 95 %% confidence",
		t.totals.OK, n, t.service.VIP, 100*3/float64(n)).with(figure).found(t.again...), true
}

// placed holds the answers to where they must come from: policy Local's and the near
// Service's from the announcer's own pods, the remote Service's from nowhere near it.
func placed(f journal.Facts, t traffic, onAnnouncer bool) (Verdict, bool) {
	s, err := readSweep(f)
	if err != nil {
		return broken(err), false
	}
	mac, _ := s.responder(t.service.VIP)
	node, ok := nodeByMAC(s.topo, mac)
	if !ok {
		return fail("no-single-responder", "%s is not answered by one node alone (%s), so it has no announcer", t.service.VIP, s.describe(s.macs(t.service.VIP))), false
	}
	for _, b := range t.peers.Backends {
		switch {
		case onAnnouncer && b.Node != node.Name:
			return fail("backend-off-announcer", "%d requests to %s, to be answered on its announcer %s, were answered by %s on %s",
				b.Responses, t.service.VIP, node.Name, b.Pod, b.Node), false
		case !onAnnouncer && b.Node == node.Name:
			return fail("backend-on-announcer", "%d requests to %s, whose backends are to be off its announcer %s, were answered there",
				b.Responses, t.service.VIP, node.Name), false
		}
	}
	return Verdict{}, true
}

func errorWords(kinds map[string]int64) string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		words = append(words, fmt.Sprintf("%s %d", k, kinds[k]))
	}
	if len(words) == 0 {
		return "no errors"
	}
	return strings.Join(words, ", ")
}

func sourceAddress() Check {
	return Check{
		ID: "source-address", Family: "traffic",
		Title: "The backend sees the right client address",
		Why: "Policy Local exists to keep the client's address; Cluster with SNAT must show a node's, or replies leave by a path that " +
			"the client drops (kubernetes docs, Source IP; cilium #27730).",
		Method: "Every answer of the traffic observation carries the peer address the backend saw. Local, and DSR (which hybrid is for TCP): the " +
			"client's. Cluster with SNAT: one of a node's addresses, its pod gateway included (a local backend sees that one); Cilium leaves " +
			"the client's to a backend on the announcer itself, so only the Service with none there is strict. With n answers a share q " +
			"with another address is missed with probability (1-q)^n: limits.requests for each Service.",
		Needs: []string{journal.ObsTraffic, journal.ObsAnnouncement},
		Codes: []string{"ok", "cluster-source", "local-source", "remote-source", "unreachable"},
		Judge: judgeSource,
	}
}

func judgeSource(f journal.Facts, sc scenario.Scenario) Verdict {
	var words []string
	v := pass("")
	objs, err := objects(f, journal.ObsAnnouncement)
	if err != nil {
		return broken(err)
	}
	purposes := []string{forCluster, forLocal}
	// Older journals have no such Service; backend-off-announcer misses it where it is due.
	if _, err := service(objs, forRemote); err == nil {
		purposes = append(purposes, forRemote)
	}
	for _, purpose := range purposes {
		t, err := readTraffic(f, purpose)
		if err != nil {
			return broken(err)
		}
		if t.totals.OK == 0 {
			return fail("unreachable", "%s: no request was answered", t.service.Name)
		}
		seesClient := purpose == forLocal || sc.Spec.DataPlane.Forwarding != scenario.ForwardingSNAT
		seesNode := !seesClient
		if purpose == forCluster && sc.Spec.DataPlane.Proxy == scenario.ProxyCilium {
			seesClient = true
		}
		peers := map[string]int{}
		for _, b := range t.peers.Backends {
			for p, n := range b.Peers {
				peers[p] += n
			}
		}
		if len(peers) == 0 {
			return broken(fmt.Errorf("%s: no answer names the client it saw", t.service.Name))
		}
		what := "a node's address"
		switch {
		case seesClient && seesNode:
			what = "the client's or a node's address"
		case seesClient:
			what = "the client's address"
		}
		for _, p := range slices.Sorted(maps.Keys(peers)) {
			if (seesClient && p == t.topo.Client.Address) || (seesNode && nodeAddress(t.topo, p)) {
				continue
			}
			return fail(strings.ToLower(purpose)+"-source", "%s: %d answers saw the client as %s, which is not %s (the client is %s)",
				t.service.Name, peers[p], p, what, t.topo.Client.Address)
		}
		words = append(words, fmt.Sprintf("%s: %s in all %d answers", t.service.Name, what, t.totals.OK))
		v = v.with(Figure{Name: t.service.Name + " source addresses", Value: float64(len(peers)), Unit: "addresses", N: t.totals.OK, Method: "peer address seen by the backend"})
	}
	v.Message = strings.Join(words, "; ")
	return v
}

func nodeAddress(t journal.Topology, addr string) bool {
	for _, n := range t.Nodes {
		if n.Address == addr || slices.Contains(n.OtherAddresses, addr) {
			return true
		}
	}
	return false
}
