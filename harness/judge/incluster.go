// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func inClusterToVIP() Check {
	return Check{
		ID: "in-cluster-to-vip", Family: "traffic",
		Title: "Nodes and pods reach the VIPs, whatever the traffic policy",
		Why: "Clients in the cluster use the same name as those outside, and their packets never meet the announcer: the node they are on must serve the " +
			"VIP. kube-proxy in nftables mode blackholed them under policy Local (kubernetes #131765).",
		Method: "limits.inClusterRequests HTTP requests, each on a new connection, to the VIP of policy Cluster and to that of policy Local, from every node " +
			"and from the network of one pod on each node that has a backend. Traffic from inside is not subject to externalTrafficPolicy: every one must be " +
			"answered, by any ready backend. The code names who failed for which policy, joined by + where several did. A share q of n requests of one " +
			"client that is lost is missed with probability (1-q)^n: with the default of 40 a share of 11 % is seen with p >= 0.99. Misses pods on nodes without " +
			"backends.",
		Needs: []string{journal.ObsInCluster, journal.ObsAnnouncement},
		Codes: []string{"ok", "node-cluster", "node-local", "pod-cluster", "pod-local", "unknown-backend"},
		Judge: judgeInCluster,
	}
}

func judgeInCluster(f journal.Facts, sc scenario.Scenario) Verdict {
	topo, err := f.Topology()
	if err != nil {
		return broken(err)
	}
	objs, err := objects(f, journal.ObsAnnouncement)
	if err != nil {
		return broken(err)
	}
	span, err := f.Observation(journal.ObsInCluster)
	if err != nil {
		return broken(err)
	}
	asked, err := targets(f, span)
	if err != nil {
		return broken(err)
	}
	runs := map[string]load{}
	failed := map[string]int64{} // who-policy -> failed requests
	count := map[string]int64{}
	fromNodes, fromPods := map[string]bool{}, map[string]bool{}
	purposes := map[string]map[string]bool{} // stream -> purposes asked for
	var words []string
	for _, t := range asked {
		purpose := ""
		for _, s := range objs.Services {
			if s.Name == t.Service {
				purpose = purposeOf(s)
			}
		}
		if _, ok := runs[t.Stream]; !ok {
			if runs[t.Stream], err = loadRun(span, t.Stream); err != nil {
				return broken(err)
			}
			purposes[t.Stream] = map[string]bool{}
		}
		purposes[t.Stream][purpose] = true
		totals, err := runs[t.Stream].target(t.Name)
		if err != nil {
			return broken(fmt.Errorf("%s on %s: %w", t.From, t.Node, err))
		}
		if totals.Dropped+totals.Cancelled > 0 {
			return broken(fmt.Errorf("%s on %s never sent %d of %d requests", t.From, t.Node, totals.Dropped+totals.Cancelled, totals.Scheduled))
		}
		for pod, b := range runs[t.Stream].peers[t.Name].Backends {
			if _, ok := readyBackends(objs, t.Service)[pod]; !ok {
				return fail("unknown-backend", "%d answers to a %s on %s came from %s, which is no ready endpoint of %s", b.Responses, t.From, t.Node, pod, t.Service)
			}
		}
		if t.From == journal.FromNode {
			fromNodes[t.Node] = true
		} else {
			fromPods[t.Node] = true
		}
		key := t.From + "-" + strings.ToLower(purpose)
		count[key] += totals.Completed
		if float64(totals.Errors) > sc.Spec.Limits.MaxErrorRatio*float64(totals.Completed) {
			failed[key] += totals.Errors
			words = append(words, fmt.Sprintf("%d of %d requests of a %s on %s to %s (%s) failed: %s", totals.Errors, totals.Completed, t.From, t.Node,
				t.Address, t.Service, errorWords(totals.ErrorKinds)))
		}
	}
	for stream, p := range purposes {
		if !p[forCluster] || !p[forLocal] {
			return broken(fmt.Errorf("client %s did not ask the VIPs of both policies", stream))
		}
	}
	if len(fromNodes) != len(topo.Nodes) || len(fromPods) == 0 {
		return broken(fmt.Errorf("%d of %d nodes and %d pods asked: each node and a pod are needed", len(fromNodes), len(topo.Nodes), len(fromPods)))
	}
	v := pass("every request of %d nodes and %d pods to the VIPs of both policies was answered", len(fromNodes), len(fromPods))
	if len(failed) > 0 {
		v = fail(strings.Join(slices.Sorted(maps.Keys(failed)), "+"), "%s", strings.Join(words, "; "))
	}
	for _, key := range slices.Sorted(maps.Keys(count)) {
		v = v.with(Figure{Name: key + " failed requests", Value: float64(failed[key]), Unit: "requests", N: count[key], Method: "HTTP GET on new connections"})
	}
	return v
}
