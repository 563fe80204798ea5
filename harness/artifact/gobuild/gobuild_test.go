// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package gobuild

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSourceDirIsTheCheckout(t *testing.T) {
	dir, err := SourceDir(t.Context())
	require.NoError(t, err)
	wd, err := os.Getwd()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(wd, dir+string(filepath.Separator)))
}

// In another module's folder this module's source is looked for elsewhere.
func TestCheckoutOfAnotherModule(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/other\n\ngo 1.26\n"), 0o644))
	sub := filepath.Join(dir, "a", "b")
	require.NoError(t, os.MkdirAll(sub, 0o755))
	_, ok := checkout(sub)
	require.False(t, ok)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("// comment\nmodule "+Module+"\n"), 0o644))
	got, ok := checkout(sub)
	require.True(t, ok)
	require.Equal(t, dir, got)
}

func TestBuildIsStaticAndReproducible(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/x\n\ngo 1.26\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"),
		[]byte("package main\n\nvar version = \"unset\"\n\nfunc main() { print(version) }\n"), 0o644))
	t.Setenv("GOFLAGS", "-mod=vendor") // a caller's setting that would break the build
	var built [2][]byte
	for i := range built {
		out := filepath.Join(t.TempDir(), "x")
		require.NoError(t, Build(t.Context(), Spec{Dir: dir, Packages: []string{"."}, Out: out, LDFlags: "-X main.version=v1"}))
		said, err := exec.Command(out).CombinedOutput()
		require.NoError(t, err)
		require.Equal(t, "v1", string(said))
		built[i], err = os.ReadFile(out)
		require.NoError(t, err)
	}
	require.Equal(t, built[0], built[1])

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, Build(ctx, Spec{Dir: dir, Packages: []string{"."}, Out: filepath.Join(dir, "y")}), context.Canceled)
}
