// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package idle

import (
	"bytes"
	"os/exec"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

func TestIdleSleepsUntilItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		ctx, stop := stream.Lifetime(t.Context(), nil, time.Hour)
		defer stop()
		var out bytes.Buffer
		require.NoError(t, Run(ctx, Config{}, stream.NewWriter(&out)))
		require.Equal(t, time.Hour, time.Since(begin))
		records, err := stream.Read(&out)
		require.NoError(t, err)
		end, err := probe.Decode[probe.End](records[1])
		require.NoError(t, err)
		require.Equal(t, probe.ReasonDeadline, end.Reason)
	})
}

func TestReapTakesEveryZombie(t *testing.T) {
	for range 3 {
		require.NoError(t, exec.Command("true").Start()) // and never waited for
	}
	require.Eventually(t, func() bool {
		reap()
		_, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		return err == syscall.ECHILD
	}, 30*time.Second, 10*time.Millisecond)
}
