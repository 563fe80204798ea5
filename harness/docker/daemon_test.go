// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package docker

import (
	"context"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A real daemon, next to whatever runs already: started, killed, started over what
// the killed one left, stopped, purged. Needs root and docker; off by default.
func TestDaemonLifecycle(t *testing.T) {
	if os.Getenv("LBMATRIX_TEST_DAEMON") == "" {
		t.Skip("set LBMATRIX_TEST_DAEMON=1 to start a real docker daemon (root)")
	}
	if _, err := os.Stat("/var/run/docker.sock"); err == nil {
		t.Skip("the machine's own daemon would be used instead")
	}
	p := places{run: "/run/lbmatrix-test", data: "/var/lib/lbmatrix-test/docker", netns: "lbmatrix-docker-test"}
	t.Cleanup(func() {
		_ = p.stop(context.Background(), Options{Out: io.Discard, Purge: true})
		_ = os.RemoveAll(p.run)
	})
	ctx := t.Context()
	start := func() process {
		t.Helper()
		require.NoError(t, p.start(ctx, t.Output()))
		d, ok := p.daemon()
		require.True(t, ok)
		return d
	}
	first := start()
	require.Equal(t, first, start(), "a running daemon is left alone")
	c := &Client{Host: p.host()}
	ns, err := c.NetNS(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, ns)

	child, ok := p.containerd()
	require.True(t, ok)
	require.NoError(t, unix.Kill(first.PID, unix.SIGKILL))
	require.Eventually(t, func() bool { return !first.alive() }, 10*time.Second, 50*time.Millisecond)
	second := start()
	require.NotEqual(t, first, second)
	require.False(t, child.alive())

	// As after a reboot of a machine whose /run is no tmpfs.
	require.NoError(t, p.stop(ctx, Options{Out: t.Output()}))
	require.NoError(t, os.WriteFile(p.netnsFile(), nil, 0o644))
	require.NoError(t, os.WriteFile(p.pidFile(), []byte("1"), 0o644))
	start()
	require.NoError(t, p.stop(ctx, Options{Out: t.Output(), Purge: true}))
	require.NoFileExists(t, p.netnsFile())
	require.NoFileExists(t, p.socket())
	require.NoDirExists(t, p.data)
}
