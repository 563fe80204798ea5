// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package pace waits for due times to within some microseconds, which the runtime's
// timers do not.
package pace

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// fine is how long before a due time the runtime's timers are left for a sleep of our
// own: they may fire a millisecond late, because the runtime waits for them in
// epoll_wait, whose unit that is.
const fine = 2 * time.Millisecond

// slack is the kernel's leave to fire a sleep late; its default is 50 us (prctl(2),
// PR_SET_TIMERSLACK).
const slack = time.Microsecond

// Pacer waits for due times: most of the way on a timer that can be cancelled, and the
// rest in a sleep of the thread.
type Pacer struct {
	timer *time.Timer
	sleep func(time.Duration)
}

// New makes a Pacer of the calling thread, which must be locked to its goroutine: the
// thread keeps its small timer slack. sleep replaces the thread's sleep
// where time is not the machine's; nil is the real one.
func New(sleep func(time.Duration)) *Pacer {
	if sleep == nil {
		// Without the smaller slack sleeps are a little late: no reason to give up.
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack.Nanoseconds()), 0, 0, 0)
		sleep = nanosleep
	}
	p := &Pacer{timer: time.NewTimer(0), sleep: sleep}
	<-p.timer.C
	return p
}

// Stop releases the timer.
func (p *Pacer) Stop() { p.timer.Stop() }

// Until returns at the due time, or when ctx ends, or at once for a time that is past.
func (p *Pacer) Until(ctx context.Context, due time.Time) {
	if wait := time.Until(due) - fine; wait > 0 {
		p.timer.Reset(wait)
		select {
		case <-p.timer.C:
		case <-ctx.Done():
			return
		}
	}
	for wait := time.Until(due); wait > 0; wait = time.Until(due) {
		p.sleep(wait)
	}
}

// nanosleep sleeps in the kernel, on the calling thread.
func nanosleep(d time.Duration) {
	left := unix.NsecToTimespec(d.Nanoseconds())
	for errors.Is(unix.Nanosleep(&left, &left), unix.EINTR) {
	}
}
