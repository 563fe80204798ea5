// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/guest"
	"github.com/lbmatrix/lbmatrix/harness/guest/job"
)

// What a machine lacks is unsupported, with the way to get it; a guest that failed is not.
func TestUnsupported(t *testing.T) {
	for _, lack := range []error{guest.ErrNoQEMU, artifact.ErrNoGuest} {
		fix, ok := Unsupported(fmt.Errorf("run: %w", lack))
		require.True(t, ok, lack)
		require.NotEmpty(t, fix)
	}
	for _, failure := range []error{nil, errors.New("no"), &guest.HungError{}, job.ErrNoExit} {
		_, ok := Unsupported(failure)
		require.False(t, ok, failure)
	}
}

// A guest's disk holds lbmatrix, a store that makes nothing, and the files of its working
// folder, of which none is anywhere else.
func TestLoad(t *testing.T) {
	store, err := artifact.Open(artifact.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	o := Options{Store: store, Program: self, Files: map[string]string{"mine/scenario.yaml": self}}
	dir := t.TempDir()
	require.NoError(t, o.load(t.Context(), dir))
	for _, name := range []string{"bin/lbmatrix", "cache/carried.json", "cache/lbprobe", "work/mine/scenario.yaml"} {
		require.FileExists(t, filepath.Join(dir, name))
	}
	for _, outside := range []string{"../scenario.yaml", "/etc/scenario.yaml"} {
		o.Files = map[string]string{outside: self}
		require.ErrorContains(t, o.load(t.Context(), t.TempDir()), "outside its working folder")
	}
}
