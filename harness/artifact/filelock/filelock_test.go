// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package filelock

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAcquireExcludesGoroutines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "x.lock")
	release, err := Acquire(t.Context(), path, nil)
	require.NoError(t, err)
	var waited atomic.Bool
	got := make(chan error, 1)
	go func() {
		r, err := Acquire(t.Context(), path, func() { waited.Store(true) })
		if err == nil {
			r()
		}
		got <- err
	}()
	require.Eventually(t, waited.Load, 5*time.Second, 10*time.Millisecond)
	release()
	require.NoError(t, <-got)
}

func TestAcquireHonoursContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	release, err := Acquire(t.Context(), path, nil)
	require.NoError(t, err)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Acquire(ctx, path, cancel)
	require.ErrorIs(t, err, context.Canceled)
}

// A killed process leaves no lock behind.
func TestKilledHolderReleases(t *testing.T) {
	if path := os.Getenv("FILELOCK_HOLD"); path != "" {
		if _, err := Acquire(context.Background(), path, nil); err == nil {
			os.Stdout.WriteString("held\n")
		}
		time.Sleep(time.Minute)
		return
	}
	path := filepath.Join(t.TempDir(), "x.lock")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledHolderReleases$")
	cmd.Env = append(os.Environ(), "FILELOCK_HOLD="+path)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "held\n", line)
	release, err := Acquire(t.Context(), path, func() { _ = cmd.Process.Kill() })
	require.NoError(t, err)
	release()
	_ = cmd.Wait()
}
