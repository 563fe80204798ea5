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
			"needs 5 expected answers a backend. A backend that gets none of n requests over k backends is missed with probability (1-1/k)^n at most. " +
			"Its power, by the noncentral chi-square distribution (within 0.07 of simulations), is told with each verdict for a backend that gets half of " +
			"its share: with the defaults (400 requests, 4 backends, 1e-6) that is found with p = 0.66, and one that gets a quarter of it with p > 0.99.",
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
	return t.spread(sc.Spec.Limits.BackendSkewAlpha)
}

// spread tests whether the answers are evenly spread over the Service's ready backends.
func (t traffic) spread(alpha float64) Verdict {
	want := readyBackends(t.objs, t.service.Name)
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
		if _, ok := want[pod]; !ok {
			return fail("unknown-backend", "%d answers came from %s on %s, which is no ready endpoint of %s", b.Responses, pod, b.Node, t.service.Name)
		}
	}
	p := distuv.ChiSquared{K: float64(k - 1)}.Survival(chi2)
	if math.IsNaN(p) {
		return broken(fmt.Errorf("chi-square of %g with %d backends has no p-value", chi2, k))
	}
	power := SkewPower(n, k, alpha, 0.5)
	figures := []Figure{
		{Name: "backends reached", Value: float64(k - len(missing)), Unit: "pods", N: n, Method: "pod named in the answer"},
		{Name: "spread p-value", Value: p, Unit: "probability", N: n, Method: "chi-square against an even spread"},
		{Name: "spread power", Value: power, Unit: "probability", N: n, Method: "of finding a backend that gets half of its share"},
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fail(fmt.Sprintf("missing=%d", len(missing)), "%d of %d backends got none of %d requests: %s", len(missing), k, n, strings.Join(missing, ", ")).with(figures...)
	}
	if p < alpha {
		return fail("skew", "the spread over %d backends is uneven: p = %.2g, below %.2g", k, p, alpha).with(figures...)
	}
	return pass("%d requests reached all %d backends evenly (p = %.2g); one with half of its share would be found with p = %.2g", n, k, p, power).with(figures...)
}

// SkewPower is the probability with which the chi-square test at level alpha of n answers
// over k backends (2 or more) finds that one backend gets only the given share (0 to 1) of its due,
// and the others the rest evenly.
//
// The statistic is then noncentral chi-square with k-1 degrees of freedom and
// noncentrality n times the sum of (p_i - 1/k)^2 / (1/k) (Cohen, Statistical Power Analysis
// for the Behavioral Sciences, chapter 7): a mixture of central ones, whose degrees of
// freedom grow by twice a Poisson number with half the noncentrality as its mean.
func SkewPower(n int64, k int, alpha, share float64) float64 {
	even := 1 / float64(k)
	lost := even * (1 - share)
	others := float64(k - 1)
	effect := (lost*lost + others*(lost/others)*(lost/others)) / even
	if effect == 0 {
		return alpha // nothing to find: only a false alarm finds it
	}
	critical := distuv.ChiSquared{K: others}.Quantile(1 - alpha)
	number := distuv.Poisson{Lambda: float64(n) * effect / 2}
	// Twelve standard deviations on either side leave out less than any figure here shows.
	reach := 12*math.Sqrt(number.Lambda) + 12
	power := 0.0
	for j := math.Max(0, math.Floor(number.Lambda-reach)); j <= number.Lambda+reach; j++ {
		power += number.Prob(j) * distuv.ChiSquared{K: others + 2*j}.Survival(critical)
	}
	return math.Min(power, 1)
}
