// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package preflight

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// table is a machine whose table of neighbours has these limits.
func table(t *testing.T, soft, hard int) (Neighbours, func() [2]int) {
	t.Helper()
	n := Neighbours{root: t.TempDir()}
	require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(n.root, neighboursHard)), 0o755))
	var files []string
	for file, value := range map[string]int{neighboursSoft: soft, neighboursHard: hard} {
		files = append(files, file)
		require.NoError(t, os.WriteFile(filepath.Join(n.root, file), []byte(strconv.Itoa(value)+"\n"), 0o644))
	}
	require.Len(t, files, 2)
	return n, func() (now [2]int) {
		for i, file := range []string{neighboursSoft, neighboursHard} {
			raw, err := os.ReadFile(filepath.Join(n.root, file))
			require.NoError(t, err)
			now[i], err = strconv.Atoi(strings.TrimSpace(string(raw)))
			require.NoError(t, err)
		}
		return now
	}
}

func TestNeighboursAreRaised(t *testing.T) {
	n, now := table(t, 512, 1024)
	require.Nil(t, n.Check(22))
	require.Equal(t, [2]int{512, 1024}, now(), "22 nodes have 484 in all: they fit")
	require.Nil(t, n.Check(100))
	require.Equal(t, [2]int{10000, 20000}, now())
	require.Nil(t, n.Check(3))
	require.Equal(t, [2]int{10000, 20000}, now(), "never lowered")
}

func TestTooFewNeighbours(t *testing.T) {
	n, _ := table(t, 512, 1024)
	// A folder in the file's place cannot be written to, as in a container whose /proc/sys
	// is read-only.
	soft := filepath.Join(n.root, neighboursSoft)
	require.NoError(t, os.Remove(soft))
	require.NoError(t, os.Mkdir(soft, 0o755))
	u := n.Check(100)
	require.NotNil(t, u)
	require.Contains(t, u.Missing[0], "100 nodes have up to 10000 neighbours in all, and the kernel has room for 1024")
	require.Equal(t, "As root: sysctl -w net.ipv4.neigh.default.gc_thresh3=20000 net.ipv4.neigh.default.gc_thresh2=10000", u.Fix)

	require.Nil(t, Neighbours{root: t.TempDir()}.Check(100), "nobody says it")
}
