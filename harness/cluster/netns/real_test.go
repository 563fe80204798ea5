// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

// realOptions are those of a real cluster with a ledger of its own, or the reason to skip.
func realOptions(t *testing.T, name string, crashed func(string)) Options {
	t.Helper()
	sc, err := scenarios.Get("kube-proxy-iptables-metallb-l2", scenario.Options{})
	require.NoError(t, err)
	found := programs(t, sc)
	l, err := ledger.Open(t.TempDir(), "x")
	require.NoError(t, err)
	return Options{
		Name: name, Scenario: sc, Programs: found, Ledger: l, Dir: t.TempDir(), Log: os.Stderr,
		Progress: func(s string) { t.Log(s) }, Crashed: crashed,
	}
}

// programs are those of a scenario, or the reason to skip.
func programs(t *testing.T, sc *scenario.Scenario) map[string]string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	if missing := Missing(sc); len(missing) > 0 {
		t.Skipf("this machine cannot run a cluster of namespaces: %v", missing)
	}
	store, err := artifact.Open(artifact.Options{})
	require.NoError(t, err)
	set := artifact.Set{Kubernetes: sc.Spec.Cluster.Kubernetes, Components: map[string]string{}}
	for _, c := range sc.Spec.Components {
		set.Components[c.Name] = c.Version
	}
	there, err := store.HasPrograms(t.Context(), set)
	require.NoError(t, err)
	if !there {
		t.Skip("the programs are not built yet: `lbmatrix run --provider netns` builds them, which takes minutes")
	}
	found, err := store.Programs(t.Context(), set)
	require.NoError(t, err)
	return found
}

func TestClusterComesUpAndGoes(t *testing.T) {
	crashes := make(chan string, 10)
	o := realOptions(t, "lbm-test", func(s string) { crashes <- s })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begin := time.Now()
	c, err := Create(ctx, o)
	if c != nil {
		t.Cleanup(func() {
			begin := time.Now()
			require.NoError(t, c.Delete(context.WithoutCancel(ctx)))
			t.Logf("deleted after %dms", time.Since(begin).Milliseconds())
			require.NoError(t, c.WaitGone(ctx))
			require.NoError(t, o.Ledger.Close(false))
		})
	}
	require.NoError(t, err)
	require.NoError(t, c.WaitReady(ctx))
	t.Logf("Services ready after %dms", time.Since(begin).Milliseconds())
	for _, tm := range c.Timings() {
		t.Logf("%s %dms", tm.Name, tm.Elapsed.Milliseconds())
	}
	nodes, err := c.Nodes(ctx)
	require.NoError(t, err)
	for _, n := range nodes {
		out, err := cluster.Output(ctx, n, "curl", "-sSk", "--max-time", "2", "https://10.96.0.1/version")
		require.NoError(t, err)
		require.Contains(t, out, "gitVersion", "the API server's Service works on %s", n.Name())
		out, err = cluster.Output(ctx, n, "sh", "-c", "touch /lbmatrix-x 2>&1 || true")
		require.NoError(t, err)
		require.Contains(t, out, "Read-only", "a node cannot write to this host")
	}

	// Nothing starts the control plane again: that it ended by itself is told, and said of what fails then.
	require.NoError(t, c.Died())
	require.Empty(t, crashes)
	out, err := cluster.Output(ctx, nodes[0], "sh", "-c", `for p in /proc/[0-9]*; do [ "$(cat $p/comm)" != kube-apiserver ] || kill -KILL "${p#/proc/}"; done`)
	require.NoError(t, err, out)
	select {
	case said := <-crashes:
		require.Contains(t, said, "kube-apiserver ended (signal: killed)")
		require.ErrorContains(t, c.Died(), "kube-apiserver ended (signal: killed)")
	case <-ctx.Done():
		require.Fail(t, "nobody told of the end of the API server")
	}
}

// Whoever gives up right after Create leaves nothing either.
func TestClusterGoesBeforeItIsReady(t *testing.T) {
	o := realOptions(t, "lbm-brief", func(s string) { t.Error(s) })
	c, err := Create(t.Context(), o)
	require.NoError(t, err)
	require.NoError(t, c.Delete(t.Context()))
	require.NoError(t, c.WaitGone(t.Context()))
	require.NoError(t, o.Ledger.Close(false))
}
