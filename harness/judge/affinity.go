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

func sessionAffinity() Check {
	return Check{
		ID: "session-affinity", Family: "traffic",
		Title: "With sessionAffinity ClientIP one client stays on one backend",
		Why: "Affinity that is lost logs users out, and nothing reports it: kube-proxy keeps it in a table of its own for each mode (xt_recent, an nftables " +
			"set, IPVS persistence), Cilium in a BPF map, and each can be missing or forget while every request is still answered.",
		Method: "limits.requests HTTP requests, each on a new connection, from one client to a Service with sessionAffinity ClientIP and two or more ready " +
			"backends: all answers must come from one. The control is the Service without affinity, which the same client asks in the same run: its answers must " +
			"come from two or more, or one backend proves nothing. A share q of n requests that goes elsewhere is missed with probability (1-q)^n, a data plane " +
			"without affinity over k backends with k^(1-n). Says nothing of the timeout (3 h) or of what becomes of it when a backend goes.",
		Needs: []string{journal.ObsTraffic, journal.ObsAnnouncement},
		Codes: []string{"ok", "unreachable", "spread"},
		Judge: func(f journal.Facts, _ scenario.Scenario) Verdict { return judgeAffinity(f) },
	}
}

func judgeAffinity(f journal.Facts) Verdict {
	t, err := readTraffic(f, journal.RoleSticky)
	if err != nil {
		return broken(err)
	}
	control, err := readTraffic(f, forCluster)
	if err != nil {
		return broken(err)
	}
	ready := len(readyBackends(t.objs, t.service.Name))
	if ready < 2 {
		return broken(fmt.Errorf("%s has %d ready backends, affinity needs 2 to be seen", t.service.Name, ready))
	}
	// Without an answer nothing is to be told apart, and no control is needed.
	n := t.totals.OK
	if n == 0 {
		return fail("unreachable", "%s: no request was answered: %s", t.service.Name, errorWords(t.totals.ErrorKinds))
	}
	if n := len(control.peers.Backends); n < 2 {
		return broken(fmt.Errorf("positive control: %d requests to %s, which has no affinity, were answered by %d backends, so one backend proves nothing",
			control.totals.OK, control.service.Name, n))
	}
	if n < minAffine {
		return broken(fmt.Errorf("%s: %d answers are too few, %d are needed", t.service.Name, n, minAffine))
	}
	used := len(t.peers.Backends)
	figures := []Figure{
		{Name: "backends of one client", Value: float64(used), Unit: "pods", N: n, Method: "pod named in the answer, sessionAffinity ClientIP"},
		{Name: "backends without affinity", Value: float64(len(control.peers.Backends)), Unit: "pods", N: control.totals.OK, Method: "the control: the same client, no affinity"},
	}
	if used != 1 {
		var words []string
		for _, pod := range slices.Sorted(maps.Keys(t.peers.Backends)) {
			words = append(words, fmt.Sprintf("%s %d", pod, t.peers.Backends[pod].Responses))
		}
		return fail("spread", "%d requests of one client to %s (spec.sessionAffinity %s) were answered by %d backends: %s",
			n, t.service.Name, orUnknown(t.service.SessionAffinity), used, strings.Join(words, ", ")).with(figures...)
	}
	return pass("all %d requests of one client went to one of %d backends, those to %s to %d; a share of %.2g %% that goes elsewhere is seen with p >= 0.99",
		n, ready, control.service.Name, len(control.peers.Backends), 100*detectableShare(int(n))).with(figures...)
}

// minAffine is how many answers tell affinity from chance: over two backends as many go to
// one by chance with probability 2^-19.
const minAffine = 20

func orUnknown(s string) string {
	if s == "" {
		return "not recorded"
	}
	return s
}
