// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package component_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/cluster/kind"
	"github.com/lbmatrix/lbmatrix/harness/component"
	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// TestReal installs MetalLB and the backend on a real cluster and asks the VIP from a
// client on the segment. LBMATRIX_TEST_KIND is as in harness/cluster/kind's TestReal;
// LBMATRIX_TEST_CHART is MetalLB's chart.
func TestReal(t *testing.T) {
	env, chart := strings.Fields(os.Getenv("LBMATRIX_TEST_KIND")), os.Getenv("LBMATRIX_TEST_CHART")
	if len(env) != 6 || chart == "" {
		t.Skip("set LBMATRIX_TEST_KIND and LBMATRIX_TEST_CHART to run against a real docker daemon")
	}
	l, err := ledger.Open(t.TempDir(), "real")
	require.NoError(t, err)
	runID := fmt.Sprintf("t%d", time.Now().Unix())
	s := &scenario.Scenario{Metadata: scenario.Metadata{Name: "real-test"}, Spec: scenario.Spec{
		DataPlane: scenario.DataPlane{Proxy: scenario.ProxyIPTables},
		Cluster:   scenario.Cluster{Kubernetes: env[5], Workers: 2, CNI: scenario.CNIStatic, ControlPlaneAnnounces: true},
	}}
	begin := time.Now()
	progress := func(m string) { t.Logf("%5.1fs %s", time.Since(begin).Seconds(), m) }
	dir := t.ArtifactDir() // kept with -artifacts
	c, err := kind.Create(t.Context(), kind.Options{
		Name: "lbm-test-" + runID, Scenario: s, Docker: &docker.Client{Host: env[0]},
		Images:      kind.Images{ControlPlane: env[1], Worker: env[2], Probe: env[3]},
		ProbeBinary: env[4], Ledger: l, RunID: runID, Dir: dir, Progress: progress,
	})
	if c != nil {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			if t.Failed() {
				require.NoError(t, c.Collect(ctx, filepath.Join(os.TempDir(), "lbmatrix-component-evidence")))
			}
			require.NoError(t, c.Delete(ctx))
			require.NoError(t, c.WaitGone(ctx))
			require.NoError(t, l.Close(false))
			progress("deleted")
		})
	}
	require.NoError(t, err)
	progress("cluster is up")

	var helmLog bytes.Buffer
	h := component.NewHelm(c.RESTConfig(), dir, &helmLog)
	version := "v0.15.2"
	rel := component.Release{Name: "metallb", Namespace: "metallb-system", ChartDir: chart, Defaults: component.MetalLBDefaults(version, true)}
	client, err := kubernetes.NewForConfig(c.RESTConfig())
	require.NoError(t, err)
	echo := &component.Echo{Client: client, Image: env[3], Progress: progress}
	require.NoError(t, echo.ApplyBackend(t.Context()))
	require.NoError(t, echo.ApplyServices(t.Context()))
	progress("echo applied")
	require.NoError(t, h.Install(t.Context(), rel), helmLog.String())
	progress("helm install returned")
	m, err := component.NewMetalLB(c.RESTConfig(), "metallb", "metallb-system", progress)
	require.NoError(t, err)
	seg, err := c.Segment(t.Context())
	require.NoError(t, err)
	require.NoError(t, m.ApplyPool(t.Context(), component.Range{First: seg.First, Last: seg.Last}))
	require.NoError(t, m.ApplyAdvertisement(t.Context()))
	progress("pool and advertisement applied")
	require.NoError(t, m.WaitReady(t.Context()))
	progress("MetalLB ready")
	require.NoError(t, echo.WaitReady(t.Context()))
	require.NoError(t, echo.PinEverywhere(t.Context()))
	all, err := echo.WaitAssigned(t.Context())
	require.NoError(t, err)
	clusterSvc, localSvc := all[component.EchoCluster], all[component.EchoLocal]
	progress(fmt.Sprintf("assigned %+v %+v", clusterSvc, localSvc))

	host, err := c.Client(t.Context())
	require.NoError(t, err)
	for _, svc := range []component.Service{clusterSvc, localSvc} {
		for _, mode := range []string{"http-new", "udp-echo"} {
			port := svc.Ports[component.PortHTTP].Port
			if mode == "udp-echo" {
				port = svc.Ports[component.PortUDP].Port
			}
			// An instrument ends with its stdin: this one stays open.
			stdin, hold := io.Pipe()
			var buf bytes.Buffer
			err := host.Run(t.Context(), cluster.Command{
				Path: kind.ProbePath, Args: []string{"load", "--mode", mode, "--target", fmt.Sprintf("vip=%s:%d", svc.VIP, port), "--count", "50"},
				Stdin: stdin, Stdout: &buf,
			})
			_ = hold.Close()
			out := buf.String()
			t.Logf("%s %s: %s", svc.Name, mode, out[max(0, len(out)-600):])
			require.NoError(t, err)
		}
	}
	require.NoError(t, h.Uninstall(t.Context(), "metallb", "metallb-system"))
	progress("uninstalled")
}
