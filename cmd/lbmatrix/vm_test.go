// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

// A guest that does not end is killed at its limit and is the harness' failure: there is no
// verdict. Its log stays, and nothing else.
func TestVMRunOfAGuestThatHangs(t *testing.T) {
	store, err := artifact.Open(artifact.Options{})
	require.NoError(t, err)
	if !store.HasGuest(artifact.DefaultGuestKernel) {
		t.Skip("no guest in the store; `lbmatrix vm run -- version` makes one")
	}
	bin, state, results, scratch := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	// A negative limit takes the grace back that comes on top of it.
	require.NoError(t, os.WriteFile(filepath.Join(bin, "qemu-system-x86_64"), []byte(`#!/bin/sh
echo '{"type":"ready","slowdown":1,"limitNS":-9900000000}'
exec sleep 60
`), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv(ledger.StateEnv, state)
	t.Setenv("TMPDIR", scratch)
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"vm", "run", "--results", results, "--", "version"}, nil, &out, &errs)
	require.Equal(t, report.ExitBroken, code, errs.String())
	require.Contains(t, errs.String(), "the guest did not end (it is 1 times slower than this machine): killed after")
	for _, dir := range []string{scratch, filepath.Join(state, "ledger")} {
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left, dir)
	}
	left, err := filepath.Glob(filepath.Join(results, "*-guest-*", "guest"))
	require.NoError(t, err)
	require.Len(t, left, 1)
}
