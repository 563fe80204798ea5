// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package guest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/guest/job"
	"github.com/lbmatrix/lbmatrix/harness/pace"
)

// packGrace is how long a guest may take beyond its command's limit to end that, to pack
// and to switch itself off, on a machine like the host.
const packGrace = 10 * time.Second

// clock ends a guest that takes too long: first to come up, then, by the limit that the
// guest derived from its own pace, to do its job.
type clock struct {
	cancel  context.CancelCauseFunc
	started time.Time

	mu    sync.Mutex
	timer *time.Timer
	slow  float64
	done  bool // the results are on their disk
}

func newClock(boot time.Duration, cancel context.CancelCauseFunc) *clock {
	c := &clock{cancel: cancel, started: time.Now(), slow: 1}
	c.set(boot, "did not come up")
	return c
}

// event sets the clock by what the guest says.
func (c *clock) event(e job.Event) {
	switch e.Type {
	case job.Ready:
		c.mu.Lock()
		c.slow = e.Slowdown
		c.mu.Unlock()
		c.set(e.Limit+pace.Stretch(packGrace, e.Slowdown), fmt.Sprintf("did not end (it is %.0f times slower than this machine)", e.Slowdown))
	case job.Packed, job.Trouble:
		c.mu.Lock()
		c.done = e.Type == job.Packed
		slow := c.slow
		c.mu.Unlock()
		c.set(pace.Stretch(packGrace, slow), "did not switch itself off")
	case job.Output, job.Exit:
	}
}

// set starts the clock anew.
func (c *clock) set(limit time.Duration, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.timer = time.AfterFunc(limit, func() { c.cancel(&HungError{After: time.Since(c.started), What: what}) })
}

func (c *clock) packed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

func (c *clock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer.Stop()
}
