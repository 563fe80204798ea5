// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package await_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/cluster/await"
)

func TestInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []bool{true, true, false, true, true, true}
		n := 0
		err := await.Until(t.Context(), await.Wait{For: "x", Within: time.Minute, InARow: 3},
			func(context.Context) (bool, string, error) { n++; return answers[n-1], "", nil })
		require.NoError(t, err)
		require.Equal(t, 6, n)
	})
}

func TestTimeoutSaysWhatItSaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var states []string
		refused := errors.New("connection refused")
		start := time.Now()
		n := 0
		err := await.Until(t.Context(), await.Wait{For: "3 nodes", Within: 2 * time.Second, Changed: func(s string) { states = append(states, s) }},
			func(context.Context) (bool, string, error) {
				n++
				if n < 3 {
					return false, "1 of 3", nil
				}
				return false, "2 of 3", refused
			})
		require.EqualError(t, err, "wait for 3 nodes: not within 2s; last seen: 2 of 3; last error: connection refused")
		require.ErrorIs(t, err, refused)
		require.Equal(t, 2*time.Second, time.Since(start))
		require.Equal(t, []string{"1 of 3", "2 of 3"}, states)
	})
}

func TestFatalAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		err := await.Until(t.Context(), await.Wait{For: "x", Within: time.Hour},
			func(context.Context) (bool, string, error) { return false, "", await.Fatal(broken) })
		require.ErrorIs(t, err, broken)

		why := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		err = await.Until(ctx, await.Wait{For: "x", Within: time.Hour},
			func(context.Context) (bool, string, error) { return false, "pending", nil })
		require.ErrorIs(t, err, why)
		require.ErrorContains(t, err, "last seen: pending")
	})
}

func TestHungLookEndsWithTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := await.Until(t.Context(), await.Wait{For: "x", Within: time.Second},
			func(ctx context.Context) (bool, string, error) { <-ctx.Done(); return false, "", ctx.Err() })
		var timeout *await.TimeoutError
		require.ErrorAs(t, err, &timeout)
	})
}
