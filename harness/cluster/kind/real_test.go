// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/cluster/kind"
	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// TestReal brings up a real cluster where the environment names a daemon and images:
// LBMATRIX_TEST_KIND="docker-host control-plane worker probe probe-binary kubernetes-version".
func TestReal(t *testing.T) {
	var log bytes.Buffer
	dir := t.ArtifactDir() // kept with -artifacts
	o := realOptions(t, dir, &log)
	l := o.Ledger
	c, err := kind.Create(t.Context(), o)
	if c != nil {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			begin := time.Now()
			require.NoError(t, c.Delete(ctx))
			require.NoError(t, c.WaitGone(ctx))
			t.Logf("deleted in %s", time.Since(begin))
			require.Empty(t, l.Entries())
			require.NoError(t, l.Close(false))
		})
		for _, x := range c.Timings() {
			t.Logf("%6.2fs %s", x.Elapsed.Seconds(), x.Name)
		}
	}
	if err != nil {
		for _, f := range []string{"kubeadm-control-plane.log", "kubeadm-worker.log"} {
			data, _ := os.ReadFile(dir + "/" + f)
			t.Logf("%s:\n%s", f, data[max(0, len(data)-6000):])
		}
	}
	require.NoError(t, err, log.String())

	seg, err := c.Segment(t.Context())
	require.NoError(t, err)
	t.Logf("segment %+v", seg)
	nodes, err := c.Nodes(t.Context())
	require.NoError(t, err)
	for _, n := range nodes {
		ifs, err := n.Interfaces(t.Context())
		require.NoError(t, err)
		t.Logf("%s %+v", n.Name(), ifs)
	}
	for _, get := range []func(context.Context) (cluster.Host, error){c.Client, c.Observer} {
		h, err := get(t.Context())
		require.NoError(t, err)
		ifs, err := h.Interfaces(t.Context())
		require.NoError(t, err)
		t.Logf("%s %+v", h.Name(), ifs)
	}

	// A cancelled command leaves nothing running in the node.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	begin := time.Now()
	require.ErrorIs(t, nodes[0].Run(ctx, cluster.Command{Path: "sleep", Args: []string{"4242"}}), context.DeadlineExceeded)
	cancel()
	t.Logf("cancelled command returned after %s", time.Since(begin))
	out, err := cluster.Output(t.Context(), nodes[0], "sh", "-c", "pgrep -f '^sleep 4242' || echo none")
	require.NoError(t, err)
	require.Equal(t, "none\n", out)

	evidence := filepath.Join(dir, "cluster")
	begin = time.Now()
	err = c.Collect(t.Context(), evidence)
	t.Logf("collected in %s: %v", time.Since(begin), err)
}

// TestRealCancel: Create returns soon after its context ends, and what it made goes.
func TestRealCancel(t *testing.T) {
	var log bytes.Buffer
	o := realOptions(t, t.ArtifactDir(), &log)
	interrupted := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	var when time.Time
	time.AfterFunc(8*time.Second, func() { when = time.Now(); cancel(interrupted) })
	c, err := kind.Create(ctx, o)
	require.ErrorIs(t, err, interrupted)
	t.Logf("returned %s after the cancel: %v", time.Since(when), err)
	require.Less(t, time.Since(when), 10*time.Second)
	require.NoError(t, c.Delete(t.Context()))
	require.NoError(t, c.WaitGone(t.Context()))
	require.Empty(t, o.Ledger.Entries())
}

func realOptions(t *testing.T, dir string, log io.Writer) kind.Options {
	t.Helper()
	env := strings.Fields(os.Getenv("LBMATRIX_TEST_KIND"))
	if len(env) != 6 {
		t.Skip("set LBMATRIX_TEST_KIND to run against a real docker daemon")
	}
	l, err := ledger.Open(filepath.Join(dir, "ledger"), "real")
	require.NoError(t, err)
	runID := fmt.Sprintf("t%d", time.Now().Unix())
	begin := time.Now()
	return kind.Options{
		Name: "lbm-test-" + runID, RunID: runID, Docker: &docker.Client{Host: env[0]},
		Scenario: &scenario.Scenario{
			Metadata: scenario.Metadata{Name: "real-test"},
			Spec: scenario.Spec{
				DataPlane: scenario.DataPlane{Proxy: scenario.ProxyIPTables},
				Cluster:   scenario.Cluster{Kubernetes: env[5], Workers: 2, CNI: scenario.CNIStatic},
			},
		},
		Images:      kind.Images{ControlPlane: env[1], Worker: env[2], Probe: env[3]},
		ProbeBinary: env[4], Ledger: l, Dir: dir, Log: log,
		Progress: func(m string) { t.Logf("%5.1fs %s", time.Since(begin).Seconds(), m) },
	}
}

// TestRealClean cleans what a killed TestReal left: LBMATRIX_TEST_LEDGER is its ledger folder.
func TestRealClean(t *testing.T) {
	dir := os.Getenv("LBMATRIX_TEST_LEDGER")
	if dir == "" {
		t.Skip("set LBMATRIX_TEST_LEDGER to clean a ledger folder")
	}
	begin := time.Now()
	_, err := ledger.Clean(t.Context(), dir, kind.Remover(), func(e ledger.Event) {
		t.Logf("%5.1fs live=%t %s %s %v", time.Since(begin).Seconds(), e.Live, e.Entry.Kind, e.Entry.Name, e.Err)
	})
	require.NoError(t, err)
}
