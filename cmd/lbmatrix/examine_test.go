// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

func TestEveryWarningHasAFix(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix:///no/such/docker.sock")
	t.Setenv("PATH", t.TempDir())
	found := map[string]finding{}
	for _, f := range examine(t.Context()) {
		found[f.What] = f
		if f.Level != "ok" && f.Found != "unknown" {
			require.NotEmpty(t, f.Fix, f.What)
		}
	}
	require.Equal(t, "bad", found["docker"].Level)
	require.Equal(t, "bad", found["go"].Level)
	for _, what := range []string{"user", "inotify instances", "memory available", "cache's disk"} {
		require.Contains(t, found, what)
	}
}

func TestMemoryIsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "meminfo")
	require.NoError(t, os.WriteFile(file, []byte("MemTotal: 9 kB\nMemAvailable:    2097152 kB\n"), 0o644))
	f := examineMemory(file)
	require.Equal(t, "warn", f.Level)
	require.Equal(t, "2.1 GB", f.Found)
	require.Contains(t, f.Fix, "4 GiB")
	require.Equal(t, "unknown", examineMemory(file+"nosuch").Found)
}

func TestCgroups(t *testing.T) {
	all, err := scenarios.All(runner.LoadOptions())
	require.NoError(t, err)
	require.Equal(t, "ok", examineCgroup("2", all).Level)
	require.Equal(t, "ok", examineCgroup("1", all).Level)
	all[0].Spec.Cluster.Kubernetes = "v1.36.3"
	f := examineCgroup("1", all)
	require.Equal(t, "warn", f.Level)
	require.Contains(t, f.Found, all[0].Metadata.Name)
	require.Contains(t, f.Fix, "unified_cgroup_hierarchy")
	require.Equal(t, "ok", examineCgroup("2", all).Level)
}
