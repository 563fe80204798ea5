// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package proc

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRunReportsCommandAndStderr(t *testing.T) {
	out, err := Run(t.Context(), Command(t.Context(), "sh", "-c", "echo ' hi '"))
	require.NoError(t, err)
	require.Equal(t, "hi", out)
	_, err = Run(t.Context(), Command(t.Context(), "sh", "-c", "echo broken >&2; exit 3"))
	require.ErrorContains(t, err, "exit status 3: broken")
}

// The children of a cancelled program end too.
func TestCancelEndsGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Run(ctx, Command(ctx, "sh", "-c", "sleep 60 & echo $! > "+file+"; wait"))
		done <- err
	}()
	var pid int
	require.Eventually(t, func() bool {
		data, _ := os.ReadFile(file)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(data)))
		return pid > 0
	}, 5*time.Second, 10*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Eventually(t, func() bool { return ended(pid) }, 5*time.Second, 10*time.Millisecond)
}

// What a killed process had started ends with it.
func TestChildDoesNotOutliveAKilledParent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	if os.Getenv("PROC_TEST_PARENT") != "" {
		_, err := Run(t.Context(), Command(t.Context(), "sh", "-c", "echo $$ > $PROC_TEST_PARENT; exec sleep 60"))
		require.NoError(t, err)
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	parent := exec.Command(self, "-test.run=^TestChildDoesNotOutliveAKilledParent$")
	parent.Env = append(os.Environ(), "PROC_TEST_PARENT="+file)
	require.NoError(t, parent.Start())
	var pid int
	require.Eventually(t, func() bool {
		data, _ := os.ReadFile(file)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(data)))
		return pid > 0
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())
	require.Eventually(t, func() bool { return ended(pid) }, 5*time.Second, 10*time.Millisecond)
}

// ended says whether a process is gone, or only waits to be reaped.
func ended(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ") || syscall.Kill(pid, 0) != nil
}

func TestTailKeepsTheEnd(t *testing.T) {
	tail := &Tail{}
	for range 1000 {
		_, _ = tail.Write([]byte("0123456789"))
	}
	_, _ = tail.Write([]byte("end"))
	require.True(t, strings.HasSuffix(tail.String(), "end"))
	require.LessOrEqual(t, len(tail.String()), tailBytes+3)
}
