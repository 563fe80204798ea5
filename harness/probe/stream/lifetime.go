// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package stream

import (
	"context"
	"errors"
	"io"
	"time"
)

// What ends a Lifetime; context.Cause tells which.
var (
	ErrStdinClosed = errors.New("stdin closed")
	ErrDeadline    = errors.New("deadline reached")
)

// Lifetime returns a context that ends when stdin does, and after deadline.
// Killing `docker exec` or `kubectl exec` does not kill what it started, but it
// closes its stdin; the deadline is for what survives even that. A nil stdin is
// not watched, and a deadline of 0 or less is none. What arrives on stdin is
// thrown away.
//
// The goroutine that reads stdin lives until stdin ends: a blocked read of a
// terminal or pipe cannot be taken back.
func Lifetime(ctx context.Context, stdin io.Reader, deadline time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := func() { cancel(context.Canceled) }
	if deadline > 0 {
		timer := time.AfterFunc(deadline, func() { cancel(ErrDeadline) })
		stop = func() { timer.Stop(); cancel(context.Canceled) }
	}
	if stdin != nil {
		go func() {
			// A read error is an end too: stdin will say no more.
			_, _ = io.Copy(io.Discard, stdin)
			cancel(ErrStdinClosed)
		}()
	}
	return ctx, stop
}
