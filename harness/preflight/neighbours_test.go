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
	"golang.org/x/sys/unix"
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
	n, now = table(t, 1000, 1024)
	require.Nil(t, n.Check(23))
	require.Equal(t, [2]int{1000, 1058}, now(), "nor is one of them")
	n, now = table(t, 100, 20000) // as after a run that could raise one alone
	require.Nil(t, n.Check(100))
	require.Equal(t, [2]int{10000, 20000}, now())
}

func TestTooFewNeighbours(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts a folder read-only")
	}
	n, now := table(t, 512, 1024)
	// As in a container whose /proc/sys is read-only.
	dir := filepath.Dir(filepath.Join(n.root, neighboursHard))
	require.NoError(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	u := n.Check(100)
	require.NotNil(t, u)
	require.Contains(t, u.Missing[0], "100 nodes have up to 10000 neighbours in all, and the kernel has room for 512 before it drops some")
	require.Equal(t, [2]int{512, 1024}, now())
	require.Equal(t, "As root: sysctl -w net.ipv4.neigh.default.gc_thresh3=20000 net.ipv4.neigh.default.gc_thresh2=10000", u.Fix)

	require.Nil(t, Neighbours{root: t.TempDir()}.Check(100), "nobody says it")
}
