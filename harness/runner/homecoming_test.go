// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/report"
)

func TestHomecoming(t *testing.T) {
	results := t.TempDir()
	h, err := NewHomecoming(results, time.Unix(0, 0))
	require.NoError(t, err)
	for _, name := range []string{"19700101T000002Z-matrix-b", "19700101T000001Z-matrix-a"} {
		require.NoError(t, os.MkdirAll(filepath.Join(h.Incoming(), name, "scenario"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(h.Incoming(), name, report.RunFile), []byte("{}"), 0o644))
	}
	require.NoError(t, os.WriteFile(filepath.Join(h.Logs(), "serial.log"), []byte("booted"), 0o644))
	moved, err := h.Settle()
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(results, "19700101T000001Z-matrix-a"), filepath.Join(results, "19700101T000002Z-matrix-b")}, moved)
	require.FileExists(t, filepath.Join(results, Latest, GuestDir, "serial.log"))
	require.DirExists(t, filepath.Join(results, Latest, "scenario"))
	entries, err := os.ReadDir(results)
	require.NoError(t, err)
	require.Len(t, entries, 3, "two runs and the link to the newer: nothing else is left")
}

// A guest that brought no run home leaves its log, and latest stays where it was.
func TestHomecomingWithoutARun(t *testing.T) {
	results := t.TempDir()
	h, err := NewHomecoming(results, time.Unix(0, 0))
	require.NoError(t, err)
	moved, err := h.Settle()
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Dir(h.Logs())}, moved)
	require.DirExists(t, h.Logs())
	require.NoDirExists(t, h.Incoming())
	require.NoFileExists(t, filepath.Join(results, Latest))
}
