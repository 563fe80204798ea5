// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package docker

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestFindNamesTheNextStep(t *testing.T) {
	_, err := find(t.Context(), "", []string{"unix:///does/not/exist"})
	require.ErrorIs(t, err, ErrNoDaemon)
	require.ErrorContains(t, err, "make docker")
	_, err = find(t.Context(), "unix:///does/not/exist", nil)
	require.ErrorIs(t, err, ErrNoDaemon)
	require.ErrorContains(t, err, "DOCKER_HOST=unix:///does/not/exist")
}

func TestEnvReplacesHost(t *testing.T) {
	t.Setenv("DOCKER_HOST", "tcp://elsewhere")
	t.Setenv("DOCKER_CONTEXT", "elsewhere")
	env := (&Client{Host: "unix:///x"}).Env()
	require.Contains(t, env, "DOCKER_HOST=unix:///x")
	require.NotContains(t, env, "DOCKER_HOST=tcp://elsewhere")
	require.NotContains(t, env, "DOCKER_CONTEXT=elsewhere")
}

func TestNetNSOfAListenerHere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer l.Close()
	pid, err := peer(t.Context(), path)
	require.NoError(t, err)
	require.EqualValues(t, os.Getpid(), pid)
	ns, err := (&Client{Host: "unix://" + path}).NetNS(t.Context())
	require.NoError(t, err)
	require.Empty(t, ns)
}

func TestMissingPackages(t *testing.T) {
	have := func(names ...string) func(string) (string, error) {
		return func(p string) (string, error) {
			for _, n := range names {
				if n == p {
					return "/usr/bin/" + p, nil
				}
			}
			return "", exec.ErrNotFound
		}
	}
	require.Empty(t, missingPackages(have("dockerd", "docker", "runc", "ip", "nsenter", "iptables", "modprobe")))
	require.Equal(t, []string{"docker.io", "iptables"}, missingPackages(have("docker", "runc", "ip", "nsenter", "modprobe")))
}

func TestMountsUnder(t *testing.T) {
	table := "1 0 8:1 / / rw - ext4 a rw\n2 1 8:1 / /d rw - ext4 a rw\n3 2 0:1 / /d/overlay/x\\040y/merged rw - overlay o rw\n4 1 8:1 / /dx rw - ext4 a rw\n"
	require.Equal(t, []string{"/d/overlay/x y/merged", "/d"}, mountsUnder(table, "/d"))
	require.Empty(t, mountsUnder(table, "/other"))
}

func TestParseStart(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	start, err := parseStart([]byte("12 (a) b) c)" + rest))
	require.NoError(t, err)
	require.EqualValues(t, 4711, start)
	for _, bad := range []string{"", "12 (a) S 1", "12 (a) Z" + rest[2:]} {
		_, err := parseStart([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestConfigNamesTheWrapperOnlyWhereNeeded(t *testing.T) {
	p := places{run: "/r", data: "/d", netns: "n"}
	plain, err := p.configure("")
	require.NoError(t, err)
	require.NotContains(t, string(plain), "runtime")
	wrapped, err := p.configure("/r/lbrunc")
	require.NoError(t, err)
	var c daemonConfig
	require.NoError(t, json.Unmarshal(wrapped, &c))
	require.Equal(t, "lbrunc", c.DefaultRuntime)
	require.Equal(t, "/r/lbrunc", c.Runtimes["lbrunc"].Path)
	require.Equal(t, []string{"unix:///r/docker.sock"}, c.Hosts)
}

func TestLacksSysResource(t *testing.T) {
	file := filepath.Join(t.TempDir(), "status")
	for mask, want := range map[string]bool{"000001fffeffffff": true, "000001ffffffffff": false} {
		require.NoError(t, os.WriteFile(file, []byte("Name:\tx\nCapBnd:\t"+mask+"\n"), 0o644))
		got, err := lacksSysResource(file)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// Files that name dead or other processes must lead to nobody, and go.
func TestStaleStateNamesNobody(t *testing.T) {
	p := places{run: t.TempDir(), data: "/d", netns: "lbmatrix-test"}
	other := strconv.Itoa(os.Getpid()) // alive, but no dockerd
	require.NoError(t, os.WriteFile(p.pidFile(), []byte(other), 0o644))
	require.NoError(t, os.WriteFile(p.stateFile(), []byte(`{"pid":`+other+`,"start":1}`), 0o644))
	containerd := filepath.Join(p.execRoot(), "containerd")
	require.NoError(t, os.MkdirAll(containerd, 0o755))
	for _, f := range []string{"containerd.pid", "containerd.sock", "containerd-debug.sock"} {
		require.NoError(t, os.WriteFile(filepath.Join(containerd, f), []byte(other), 0o644))
	}
	require.NoError(t, os.WriteFile(p.socket(), nil, 0o644))
	_, ok := p.daemon()
	require.False(t, ok)
	_, ok = p.containerd()
	require.False(t, ok)
	require.NoError(t, p.tidy(t.Context()))
	for _, f := range []string{p.pidFile(), p.stateFile(), p.socket()} {
		require.NoFileExists(t, f)
	}
	left, err := os.ReadDir(containerd)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestEndOfOneProcess(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	require.NoError(t, cmd.Start())
	go func() { _ = cmd.Wait() }()
	p, ok := lookup(cmd.Process.Pid, "sleep", "60")
	if !ok { // a multi-call binary, or the child has not reached exec yet
		time.Sleep(200 * time.Millisecond)
		if p, ok = lookup(cmd.Process.Pid, "sleep", "60"); !ok {
			t.Skip("sleep is not a program of its own here")
		}
	}
	stranger := process{PID: p.PID, Start: p.Start + 1}
	require.NoError(t, stranger.end(t.Context(), time.Second))
	require.True(t, p.alive(), "another process under the same pid must not be ended")
	require.NoError(t, p.end(t.Context(), 5*time.Second))
	require.False(t, p.alive())
}

func TestAwaitReportsAnEarlyEnd(t *testing.T) {
	ended := make(chan error, 1)
	ended <- errors.New("exit status 1")
	err := places{run: t.TempDir()}.await(t.Context(), time.Minute, ended)
	require.ErrorContains(t, err, "exit status 1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, places{run: t.TempDir()}.await(ctx, time.Minute, nil), context.Canceled)
}

// A daemon that was killed while it started a container leaves a shim that the next one
// does not know.
func TestTidyEndsShims(t *testing.T) {
	p := places{run: t.TempDir(), data: t.TempDir()}
	bash, err := exec.LookPath("bash")
	require.NoError(t, err)
	program, err := os.ReadFile(bash)
	require.NoError(t, err)
	shim := filepath.Join(t.TempDir(), "containerd-shim-runc-v2")
	require.NoError(t, os.WriteFile(shim, program, 0o755))
	start := func(socket string) *exec.Cmd {
		cmd := exec.Command(shim, "-c", "sleep 1000 & echo; wait", "-address", socket)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() {
			for _, pid := range append(childrenOf(cmd.Process.Pid), cmd.Process.Pid) {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			_ = cmd.Wait()
		})
		_, err = out.Read(make([]byte, 1)) // its child runs
		require.NoError(t, err)
		return cmd
	}
	ours, others := start(filepath.Join(p.execRoot(), "containerd", "containerd.sock")), start("/run/containerd/containerd.sock")
	container := childrenOf(ours.Process.Pid)
	require.Len(t, container, 1)
	require.True(t, p.orphaned())
	require.NoError(t, p.tidy(t.Context()))
	_ = ours.Wait() // it was killed, or ended because its child was
	require.False(t, p.orphaned())
	require.Eventually(t, func() bool { _, err := startTime(container[0]); return err != nil }, 5*time.Second, 10*time.Millisecond)
	_, err = startTime(others.Process.Pid)
	require.NoError(t, err, "another daemon's is left alone")
}
