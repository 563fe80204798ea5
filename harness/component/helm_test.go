// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package component_test

import (
	"context"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"github.com/lbmatrix/lbmatrix/harness/component"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func tiny() component.Release {
	return component.Release{
		Name: "rel", Namespace: "ns", ChartDir: "testdata/tiny", ValuesFile: "testdata/values.yaml",
		Values:   map[string]any{"list": []any{"scenario"}},
		Defaults: map[string]any{"message": "from the harness", "image": map[string]any{"tag": "harness", "pullPolicy": "IfNotPresent"}},
	}
}

func TestTemplate(t *testing.T) {
	r := tiny()
	out, err := component.NewHelm(nil, "", io.Discard).Template(t.Context(), r)
	require.NoError(t, err)
	golden(t, "tiny.golden", out)
	require.Equal(t, tiny(), r, "merging changes no argument")
}

func TestMetalLBDefaultsDoNotShareMaps(t *testing.T) {
	d := component.MetalLBDefaults("v0.15.2", true)
	d["controller"].(map[string]any)["image"].(map[string]any)["tag"] = "x"
	require.Equal(t, "v0.15.2", d["speaker"].(map[string]any)["image"].(map[string]any)["tag"])
}

func TestMetalLBDefaultsLeaveTheWebhookOut(t *testing.T) {
	require.Equal(t, "disabled", component.MetalLBDefaults("v0.15.2", false)["controller"].(map[string]any)["webhookMode"])
	require.NotContains(t, component.MetalLBDefaults("v0.15.2", true)["controller"], "webhookMode", "the chart's own")
	require.True(t, component.Validates(map[string]any{"crds": map[string]any{"validationFailurePolicy": "Fail"}}))
	for _, values := range []map[string]any{nil, {"crds": "x"}, {"crds": map[string]any{"validationFailurePolicy": "Ignore"}}} {
		require.False(t, component.Validates(values), "%v", values)
	}
}

// Helm knows no contexts on most of its way: a cluster that accepts and never
// answers must not hold Install up.
func TestInstallReturnsWhenItsContextEnds(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	dir := t.TempDir()
	h := component.NewHelm(&rest.Config{Host: "http://" + l.Addr().String()}, dir, io.Discard)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	require.ErrorIs(t, h.Install(ctx, tiny()), context.DeadlineExceeded)
	require.Less(t, time.Since(begin), 5*time.Second)
	values, err := os.ReadFile(filepath.Join(dir, "rel-values.yaml"))
	require.NoError(t, err)
	require.Contains(t, string(values), "message: from the file")
}

func TestInstallNeedsAChart(t *testing.T) {
	r := tiny()
	r.ChartDir = "testdata/none"
	require.ErrorContains(t, component.NewHelm(nil, "", nil).Install(t.Context(), r), "load chart")
}
