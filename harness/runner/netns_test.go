// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/cluster/netns"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

// realWorker, in its environment, makes this test binary a worker that is none of the fakes.
const realWorker = "LBMATRIX_TEST_REAL_WORKER"

// A whole run without Docker: a real cluster, a known-bad, and nothing left of it.
func TestNetnsRunEndToEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a cluster")
	}
	if missing := netns.Missing(&scenario.Scenario{}); len(missing) > 0 {
		t.Skipf("this machine cannot run a cluster of namespaces: %v", missing)
	}
	store, err := artifact.Open(artifact.Options{Source: artifact.GoModule})
	require.NoError(t, err)
	var all []*scenario.Scenario
	for _, name := range []string{"kube-proxy-iptables-metallb-l2", "kube-proxy-iptables-dual-stack-metallb-l2"} {
		sc, err := scenarios.Get(name, scenario.Options{})
		require.NoError(t, err)
		if missing := netns.Missing(sc); len(missing) > 0 {
			t.Logf("%s is left out: %v", name, missing)
			continue
		}
		set := artifact.Set{Kubernetes: sc.Spec.Cluster.Kubernetes, Components: map[string]string{"metallb": sc.Spec.Components[0].Version}}
		built, err := store.HasPrograms(t.Context(), set)
		require.NoError(t, err)
		if !built {
			t.Skip("the programs are not built yet: `make netns` builds them, which takes minutes")
		}
		// Less of everything: this proves that it works here, not how well.
		limits := &sc.Spec.Limits
		limits.Requests, limits.LatencyRequests, limits.ARPProbes = 60, 40, 20
		limits.InClusterRequests, limits.Exchanges, limits.Transfers = 8, 4, 16
		limits.StableFor = scenario.Duration(500 * time.Millisecond)
		sc.Spec.Mutations = sc.Spec.Mutations[:1]
		all = append(all, sc)
	}

	t.Setenv(ledger.StateEnv, t.TempDir())
	ledgers, err := ledger.Dir()
	require.NoError(t, err)
	m, _, err := Run(t.Context(), Options{
		Scenarios: all, Named: true, Results: t.TempDir(), Keep: plan.KeepNever,
		From: From{Source: artifact.GoModule}, Provider: scenario.ProviderNetns, Version: "test",
		Worker: argv(t), WorkerEnv: []string{realWorker + "=1"}, Note: func(s string) { t.Log(s) },
		Progress: func(e plan.Event) {
			if e.Type == plan.StepEnd {
				t.Log(e.Step, time.Duration(e.Elapsed)*time.Millisecond, e.Error)
			}
		},
	})
	require.NoError(t, err)
	require.Len(t, m.Suites, len(all))
	for i, suite := range m.Suites {
		require.Empty(t, suite.NotRun)
		caught := 0
		for _, c := range suite.Cells {
			if c.Check == "connect-latency" || c.Check == "request-latency" {
				continue // other tests run beside this one
			}
			require.Contains(t, []judge.Result{judge.ResultPassed, judge.ResultCaught, judge.ResultConsequence}, c.Result, "%s %s: %+v", c.Phase, c.Check, c.Verdict)
			if c.Result == judge.ResultCaught {
				caught++
			}
		}
		require.Equal(t, len(all[i].Spec.Mutations[0].Expect), caught)
		require.True(t, slices.ContainsFunc(m.Run.Timings, func(x report.Timing) bool {
			return x.Of == all[i].Metadata.Name && x.Name == "API server ready" && slices.Equal(x.After, []string{"machines"}) && x.Elapsed > 0
		}), "run.json has the time line: %+v", m.Run.Timings)
	}
	left, err := os.ReadDir(ledgers)
	require.NoError(t, err)
	require.Empty(t, left, "nothing is left in a ledger")
}
