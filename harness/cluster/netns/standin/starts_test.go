// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package standin

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whoever comes and gives up or not, no more than allowed are inside, all that wait get
// their turn, and in the end every turn is free again.
func TestStartsProperty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		most := rapid.IntRange(1, 4).Draw(r, "most")
		type comer struct {
			at, patience, stays int // milliseconds; 1000 is longer than all take together
			critical            bool
		}
		comers := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) comer {
			return comer{
				at: rapid.IntRange(0, 20).Draw(r, "at"), patience: rapid.SampledFrom([]int{1, 3, 10, 30, 1000}).Draw(r, "patience"),
				stays: rapid.IntRange(0, 10).Draw(r, "stays"), critical: rapid.Bool().Draw(r, "critical"),
			}
		}), 0, 20).Draw(r, "comers")
		synctest.Test(t, func(t *testing.T) {
			s := newStarts(most)
			var inside, ended atomic.Int32
			for _, c := range comers {
				go func() {
					defer ended.Add(1)
					time.Sleep(time.Duration(c.at) * time.Millisecond)
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(c.patience)*time.Millisecond)
					defer cancel()
					leave, err := s.enter(ctx, c.critical)
					if err != nil {
						if c.patience == 1000 {
							t.Errorf("one that waits long enough got no turn: %v", err)
						}
						return
					}
					if n := inside.Add(1); n > int32(most) {
						t.Errorf("%d are inside, %d at most may be", n, most)
					}
					time.Sleep(time.Duration(c.stays) * time.Millisecond)
					inside.Add(-1)
					leave()
					leave() // twice is once
				}()
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			require.EqualValues(t, len(comers), ended.Load())
			require.Equal(t, most, s.free, "every turn was given back")
			require.Empty(t, s.waiting[0])
			require.Empty(t, s.waiting[1])
		})
	})
}

func TestCriticalStartsGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStarts(1)
		leave, err := s.enter(t.Context(), false)
		require.NoError(t, err)
		var order []string
		for _, c := range []struct {
			name     string
			critical bool
		}{{"speaker 1", false}, {"speaker 2", false}, {"kube-proxy 1", true}, {"kube-proxy 2", true}} {
			go func() {
				leave, err := s.enter(t.Context(), c.critical)
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, c.name) // one at a time is inside
				leave()
			}()
			synctest.Wait()
		}
		gave, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("told to stop"))
		_, err = s.enter(gave, true)
		require.EqualError(t, err, "told to stop")
		leave()
		synctest.Wait()
		require.Equal(t, []string{"kube-proxy 1", "kube-proxy 2", "speaker 1", "speaker 2"}, order)
	})
}
