// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package preflight

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// limited is a machine with a limit, of which some instances are free. A limit that
// cannot be raised is a folder.
func limited(t *testing.T, limit, free int) Inotify {
	t.Helper()
	root := t.TempDir()
	file := filepath.Join(root, inotifyFile)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(strconv.Itoa(limit)+"\n"), 0o644))
	left := free
	return Inotify{root: root, open: func() (int, error) {
		if left == 0 {
			return -1, unix.EMFILE
		}
		left--
		return unix.Dup(0)
	}}
}

func TestInotifyIsRaised(t *testing.T) {
	i := limited(t, 128, 0)
	require.Nil(t, i.Check(3, InotifyPerNode))
	now, err := i.Limit()
	require.NoError(t, err)
	require.Equal(t, InotifyLimit, now)
	i = limited(t, 512, 0)
	require.Nil(t, i.Check(100, 40))
	now, err = i.Limit()
	require.NoError(t, err)
	require.Equal(t, 4000, now, "as many as that many nodes take")
	i = limited(t, 8192, 0)
	require.Nil(t, i.Check(3, InotifyPerNode))
	now, err = i.Limit()
	require.NoError(t, err)
	require.Equal(t, 8192, now, "never lowered")
}

func TestTooFewInotifyInstances(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root's count is that of the nodes")
	}
	for free, fits := range map[int]bool{119: false, 120: true} {
		i := limited(t, 128, free)
		// As in a container whose /proc/sys is read-only.
		dir := filepath.Dir(filepath.Join(i.root, inotifyFile))
		require.NoError(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
		t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
		require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
		u := i.Check(3, InotifyPerNode)
		if fits {
			require.Nil(t, u)
			continue
		}
		require.NotNil(t, u)
		require.Contains(t, u.Missing[0], "3 nodes take some 120 inotify instances, and 119 are free")
		require.Equal(t, "As root: sysctl -w fs.inotify.max_user_instances=512", u.Fix)
	}
}

func TestFreeCountsAndClosesAgain(t *testing.T) {
	fds := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(all)
	}
	before := fds()
	require.Equal(t, 5, ThisInotify().Free(5))
	require.Equal(t, before, fds())
}

func TestRoom(t *testing.T) {
	dir := t.TempDir()
	free, err := Room(filepath.Join(dir, "not", "there", "yet"))
	require.NoError(t, err)
	require.Positive(t, free)
	_, err = Room("/proc/self/nosuch\x00")
	require.Error(t, err)
	require.False(t, errors.Is(err, os.ErrNotExist))
}

func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts a small disk")
	}
	dir := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	u := CheckRoom(filepath.Join(dir, "docker"), "Docker's disk")
	require.NotNil(t, u)
	require.Contains(t, u.Missing[0], "Docker's disk is full: 0.0 GB are free")
	require.Contains(t, u.Fix, "docker system prune")
}

func TestMemory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "meminfo")
	say := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o644)) }
	say("MemTotal:       24000000 kB\nMemAvailable:    2097152 kB\n")
	free, err := Available(file)
	require.NoError(t, err)
	require.Equal(t, int64(2<<30), free)
	fits := (2<<30 - MemoryPerControlPlane) / MemoryPerNode
	require.Nil(t, CheckMemory(file, fits))
	u := CheckMemory(file, fits+1)
	require.NotNil(t, u)
	require.Regexp(t, `^memory: \d+ nodes take some 2\.\d GB, and 2\.1 are available$`, u.Missing[0])
	for _, text := range []string{"", "MemTotal: 1 kB\n", "MemAvailable: much kB\n"} {
		say(text)
		_, err := Available(file)
		require.Error(t, err, text)
		require.Nil(t, CheckMemory(file, 1000), "where nobody says it the cluster will tell")
	}
	_, err = Available(Memory)
	require.NoError(t, err)
}

func TestClustersOfContainersAreSmall(t *testing.T) {
	for _, tc := range []struct {
		workers, pool int
		fits          bool
	}{{2, 10, true}, {9, 200, true}, {10, 10, false}, {2, 201, false}} {
		sc := &scenario.Scenario{}
		sc.Spec.Cluster.Workers, sc.Spec.LoadBalancer.PoolSize = tc.workers, tc.pool
		u := CheckKindSize(sc)
		require.Equal(t, tc.fits, u == nil, "%+v", tc)
		if u != nil {
			require.Contains(t, u.Fix, "--provider netns")
		}
	}
}
