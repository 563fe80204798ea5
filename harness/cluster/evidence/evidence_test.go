// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package evidence

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCollectKeepsWhatItGets(t *testing.T) {
	dir := t.TempDir()
	say := func(text string, err error) func(context.Context, *os.File) error {
		return func(_ context.Context, f *os.File) error {
			_, werr := f.WriteString(text)
			return errors.Join(werr, err)
		}
	}
	err := Collect(t.Context(), []File{
		{filepath.Join(dir, "node", "a.txt"), say("all", nil)},
		{filepath.Join(dir, "b.txt"), say("some", errors.New("no such node"))},
		{filepath.Join(dir, "c.txt"), say("more", nil)},
	})
	require.EqualError(t, err, "collect evidence: b.txt: no such node")
	for file, want := range map[string]string{"node/a.txt": "all", "b.txt": "some", "c.txt": "more"} {
		got, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	require.NoError(t, Collect(t.Context(), nil))
}
