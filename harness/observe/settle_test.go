// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Healthy and crowded are not each other's opposite: a segment on which only some VIPs
// have several responders is neither.
func TestSegmentsThatAreWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		found            map[string][]string
		oneEach, crowded bool
	}{
		"healthy":       {map[string][]string{"v1": {"a"}, "v2": {"b"}}, true, false},
		"all crowded":   {map[string][]string{"v1": {"a", "b"}, "v2": {"a", "b", "c"}}, false, true},
		"some crowded":  {map[string][]string{"v1": {"a", "b"}, "v2": {"a"}}, false, false},
		"nobody":        {map[string][]string{"v1": {}, "v2": {}}, false, false},
		"no VIP at all": {map[string][]string{}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.oneEach, OneEach(c.found))
			require.Equal(t, c.crowded, Crowded(c.found))
		})
	}
}

func TestAttemptsEndWithTheFirstThatIsDone(t *testing.T) {
	failed := errors.New("no observer")
	for name, c := range map[string]struct {
		doneAt, failAt, calls int
		err                   error
	}{
		"done at once":    {doneAt: 1, calls: 1},
		"done at the 3rd": {doneAt: 3, calls: 3},
		"never done":      {calls: 4},
		"failed":          {doneAt: 3, failAt: 2, calls: 2, err: failed},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			err := attempts(t.Context(), 4, time.Microsecond, func() (bool, error) {
				calls++
				if calls == c.failAt {
					return false, failed
				}
				return calls == c.doneAt, nil
			})
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.calls, calls)
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		err := attempts(ctx, 4, time.Hour, func() (bool, error) {
			calls++
			cancel()
			return false, nil
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 1, calls)
	})
}
