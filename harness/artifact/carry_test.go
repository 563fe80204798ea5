// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// pretend puts finished artifacts of a set's programs into a store.
func pretend(t *testing.T, s *Store, set Set) {
	t.Helper()
	recipes, err := s.programRecipes(t.Context(), set)
	require.NoError(t, err)
	for _, r := range recipes {
		dir := filepath.Join(s.dir, "artifacts", r.folder())
		require.NoError(t, os.MkdirAll(dir, 0o755))
		meta, err := json.Marshal(Meta{Name: r.name, Version: r.version, Key: r.key()})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, metaFile), meta, 0o644))
		name := "program-of-" + r.name
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(r.title()), 0o755))
	}
}

// A store that was carried to a machine without a toolchain gives what the first one gave,
// and says what it was not given.
func TestCarriedStoreNeedsNoToolchain(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir()})
	require.NoError(t, err)
	set := Set{Kubernetes: usual("kubernetes"), Components: map[string]string{"metallb": usual("metallb")}}
	pretend(t, s, set)
	want, err := s.Programs(t.Context(), set)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, s.Carry(t.Context(), []Set{set, set}, dir))

	t.Setenv("PATH", t.TempDir()) // no go, no apt
	there, err := Open(Options{Dir: dir})
	require.NoError(t, err)
	got, err := there.Programs(t.Context(), set)
	require.NoError(t, err)
	require.Len(t, got, len(want))
	for name, path := range got {
		require.FileExists(t, path)
		require.Contains(t, path, dir+"/", "of the store that was carried")
		require.Contains(t, want, name)
	}
	chart, err := there.Chart(t.Context(), "metallb", usual("metallb"))
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(chart, "Chart.yaml"))

	_, err = there.Chart(t.Context(), "cilium", usual("cilium"))
	require.ErrorIs(t, err, errNotCarried)
	_, err = there.MainBinary(t.Context())
	require.ErrorIs(t, err, errNotCarried)
}
