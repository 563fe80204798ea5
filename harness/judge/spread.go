// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func everyBackendReached() Check {
	return Check{
		ID: "every-backend-reached", Family: "traffic",
		Title: "Every ready backend gets its share of the requests",
		Why: "A backend that is never asked is lost capacity nobody notices: only backends on the announcer, or only those elsewhere, were " +
			"reached in cilium #31689 and #9116.",
		Method: "Pearson's chi-square test of the answers per backend (policy Cluster) against an even spread, at level limits.backendSkewAlpha; " +
			"needs 5 expected answers a backend. A backend that gets none of n requests over k backends is missed with probability (1-1/k)^n at most.",
		Needs: []string{journal.ObsTraffic, journal.ObsAnnouncement},
		Codes: []string{"ok", "missing=N", "skew", "unknown-backend", "unreachable"},
		Judge: judgeSpread,
	}
}

func judgeSpread(f journal.Facts, sc scenario.Scenario) Verdict {
	t, err := readTraffic(f, forCluster)
	if err != nil {
		return broken(err)
	}
	want := map[string]bool{}
	for _, b := range t.objs.Backends {
		if b.Service == t.service.Name {
			want[b.Pod] = true
		}
	}
	k, n := len(want), t.totals.OK
	switch {
	case k < 2:
		return broken(fmt.Errorf("%s has %d ready backends, a spread needs 2", t.service.Name, k))
	case n == 0:
		return fail("unreachable", "%s: no request was answered", t.service.Name)
	case float64(n)/float64(k) < 5:
		return broken(fmt.Errorf("%d answers over %d backends are too few for the test: raise limits.requests", n, k))
	}
	var missing []string
	expected, chi2 := float64(n)/float64(k), 0.0
	for pod := range want {
		got := float64(t.peers.Backends[pod].Responses)
		if got == 0 {
			missing = append(missing, pod)
		}
		chi2 += (got - expected) * (got - expected) / expected
	}
	for pod, b := range t.peers.Backends {
		if !want[pod] {
			return fail("unknown-backend", "%d answers came from %s on %s, which is no ready endpoint of %s", b.Responses, pod, b.Node, t.service.Name)
		}
	}
	p := distuv.ChiSquared{K: float64(k - 1)}.Survival(chi2)
	if math.IsNaN(p) {
		return broken(fmt.Errorf("chi-square of %g with %d backends has no p-value", chi2, k))
	}
	figures := []Figure{
		{Name: "backends reached", Value: float64(k - len(missing)), Unit: "pods", N: n, Method: "pod named in the answer"},
		{Name: "spread p-value", Value: p, Unit: "probability", N: n, Method: "chi-square against an even spread"},
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fail(fmt.Sprintf("missing=%d", len(missing)), "%d of %d backends got none of %d requests: %s", len(missing), k, n, strings.Join(missing, ", ")).with(figures...)
	}
	if alpha := sc.Spec.Limits.BackendSkewAlpha; p < alpha {
		return fail("skew", "the spread over %d backends is uneven: p = %.2g, below %.2g", k, p, alpha).with(figures...)
	}
	return pass("%d requests reached all %d backends evenly (p = %.2g)", n, k, p).with(figures...)
}
