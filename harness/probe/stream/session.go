// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// Session runs one instrument between a start and an end record. It fills in
// Start's version, host, process id and clock; args and the totals that work
// returns become their JSON bodies. The context of work ends when ctx does, and
// when a record cannot be written.
//
// The end record is written on every path: the reason is "done" when work
// returns nil, and the context's cause (see Lifetime) when work returns that or
// the context's error, as it must when it was cut short. A panic in work is
// written as an error and goes on.
//
// Session returns an error when the reason is "error" or a record could not be
// written; an instrument ended from outside is no error, and the end record says
// why it ended.
func (w *Writer) Session(ctx context.Context, start probe.Start, args any, work func(context.Context) (totals any, err error)) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.notify(cancel)
	defer w.notify(nil)

	finished := false
	var totals any
	defer func() {
		if !finished {
			err = errors.New("instrument panicked")
		}
		err = w.finish(ctx, totals, err)
	}()

	start.Version = probe.WireVersion
	start.PID = os.Getpid()
	start.MonotonicNS = monotonic()
	if start.Host == "" {
		start.Host, _ = os.Hostname() // a host without a name is not worth failing for
	}
	if start.Args, err = json.Marshal(args); err != nil {
		finished = true
		return fmt.Errorf("encode arguments: %w", err)
	}
	if err = w.Emit(probe.KindStart, start); err == nil {
		totals, err = work(ctx)
	}
	finished = true
	return err
}

// finish writes the end record and returns what Session returns.
func (w *Writer) finish(ctx context.Context, totals any, err error) error {
	body := probe.End{Reason: reason(ctx, err), MonotonicNS: monotonic()}
	if body.Reason == probe.ReasonError {
		body.Error = err.Error()
	} else {
		err = nil
	}
	if totals != nil {
		raw, encodeErr := json.Marshal(totals)
		if encodeErr != nil {
			body.Reason, body.Error = probe.ReasonError, "encode totals: "+encodeErr.Error()
			err = errors.Join(err, fmt.Errorf("encode totals: %w", encodeErr))
		}
		body.Totals = raw
	}
	if endErr := w.end(body); endErr != nil && !errors.Is(err, endErr) {
		err = errors.Join(err, endErr)
	}
	return err
}

// reason maps how the work ended to the wire's word for it. A work that fails
// because its context ended did not fail.
func reason(ctx context.Context, err error) string {
	if err == nil {
		return probe.ReasonDone
	}
	cause := context.Cause(ctx)
	if ctx.Err() == nil || !errors.Is(err, cause) && !errors.Is(err, ctx.Err()) {
		return probe.ReasonError
	}
	switch {
	case errors.Is(cause, ErrStdinClosed):
		return probe.ReasonStdinClosed
	case errors.Is(cause, ErrDeadline), errors.Is(cause, context.DeadlineExceeded):
		return probe.ReasonDeadline
	default:
		return probe.ReasonCancelled
	}
}

// monotonic is CLOCK_MONOTONIC in ns since boot, or 0 where it cannot be read.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}
