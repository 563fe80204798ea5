// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package pace

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(time.Sleep)
		defer p.Stop()
		start := time.Now()
		for _, d := range []time.Duration{0, time.Microsecond, time.Millisecond, 3 * time.Millisecond, time.Minute} {
			p.Until(t.Context(), start.Add(d))
			require.Equal(t, d, time.Since(start))
		}
		p.Until(t.Context(), start)
		require.Equal(t, time.Minute, time.Since(start), "a time that is past is not waited for")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p.Until(ctx, start.Add(time.Hour))
		require.Equal(t, time.Minute+time.Second, time.Since(start), "the end of the context ends the wait")
	})
}

// The thread's own sleep never ends early.
func TestThreadSleeps(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p := New(nil)
	defer p.Stop()
	for range 50 {
		due := time.Now().Add(300 * time.Microsecond)
		p.Until(t.Context(), due)
		require.False(t, time.Now().Before(due))
	}
}
