// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/docker"
)

// fakeDocker is a docker command that runs `exec [-e X] [-i] NAME CMD...` here.
func fakeDocker(t *testing.T) *docker.Client {
	t.Helper()
	dir := t.TempDir()
	script := `#!/bin/sh
[ "$1" = exec ] || { echo "unexpected $*" >&2; exit 99; }
shift
while :; do case "$1" in -e) export "$2"; shift 2;; -i) shift;; *) break;; esac; done
[ "$1" = missing ] && { echo "Error: No such container: missing" >&2; exit 1; }
shift
exec "$@"
`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return &docker.Client{Host: "unix:///nowhere"}
}

func TestRun(t *testing.T) {
	h := &host{docker: fakeDocker(t), name: "n"}
	var out bytes.Buffer
	require.NoError(t, h.Run(t.Context(), cluster.Command{Path: "cat", Stdin: strings.NewReader("abc"), Stdout: &out}))
	require.Equal(t, "abc", out.String())

	err := h.Run(t.Context(), cluster.Command{Path: "sh", Args: []string{"-c", "echo no >&2; exit 3"}})
	var exit *cluster.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.Code)
	require.Equal(t, "no", exit.Stderr)

	err = (&host{docker: h.docker, name: "missing"}).Run(t.Context(), cluster.Command{Path: "true"})
	require.ErrorContains(t, err, "No such container")
	require.NotErrorAs(t, err, &exit)
}

// A command that ends must not wait for whoever holds its stdin open.
func TestRunDoesNotWaitForStdin(t *testing.T) {
	h := &host{docker: fakeDocker(t), name: "n"}
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	begin := time.Now()
	require.NoError(t, h.Run(t.Context(), cluster.Command{Path: "true", Stdin: r}))
	require.Less(t, time.Since(begin), 2*time.Second)
}

// When ctx ends a command with stdin gets the chance to end by its EOF.
func TestRunCancelClosesStdin(t *testing.T) {
	h := &host{docker: fakeDocker(t), name: "n"}
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var out bytes.Buffer
	err := h.Run(ctx, cluster.Command{Path: "sh", Args: []string{"-c", "cat; echo end record"}, Stdin: r, Stdout: &out})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, "end record\n", out.String())
}

// What docker exec leaves behind in a node is found by its mark and killed.
func TestRunKillsWhatIsLeft(t *testing.T) {
	h := &host{docker: fakeDocker(t), name: "n", shell: true}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	// setsid: out of reach of the signal that ends docker exec, as a process in a container is.
	err := h.Run(ctx, cluster.Command{Path: "sh", Args: []string{"-c", "setsid sleep 60 & echo $! >" + pidFile + "; wait"}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	pid, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		state, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		return err != nil || strings.Contains(string(state), ") Z ")
	}, 3*time.Second, 20*time.Millisecond)
}
