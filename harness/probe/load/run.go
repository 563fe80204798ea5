// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/machine"
	"github.com/lbmatrix/lbmatrix/harness/probe/pace"
	"github.com/lbmatrix/lbmatrix/harness/probe/request"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// Run sends the requests of one run and records them: every anomaly in full,
// healthy traffic in buckets, and at the end the histograms and the peers of
// each target. When the run is stopped from outside, no further request is sent
// and those in flight get Drain to end; what then is left counts as cancelled.
// It returns an error when the configuration is wrong or w fails; a request that
// fails is a fact, not an error.
func Run(ctx context.Context, c Config, w *stream.Writer) error {
	c, err := c.withDefaults()
	var requesters []request.Requester
	if err == nil {
		requesters, err = c.requesters()
	}
	start := time.Now()
	return w.Session(ctx, probe.Start{Instrument: "load"}, c.args(start), func(ctx context.Context) (any, error) {
		if err != nil {
			return nil, err // said inside the session, so that even this run has its end record
		}
		for _, r := range requesters {
			defer r.Close()
		}
		if c.Ramp != nil {
			return ramp(ctx, c, requesters, w)
		}
		recorder := newRecorder(c, w.Emit, start)
		finishLog, err := recorder.logIntervals()
		if err != nil {
			return nil, err
		}
		totals, err := (&generator{config: c, start: start, requesters: requesters, recorder: recorder}).run(ctx)
		return totals, errors.Join(err, finishLog())
	})
}

// generator sends requests when they are due.
type generator struct {
	config     Config
	start      time.Time
	requesters []request.Requester
	recorder   *recorder
}

func (g *generator) run(ctx context.Context) (probe.LoadTotals, error) {
	// Requests outlive ctx by the drain time.
	requests, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	// A request that cannot be recorded ends the run.
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	// However early ctx ends, also while the last requests are waited for.
	defer context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(g.config.Drain, func() { cancel(context.Canceled) })
		context.AfterFunc(requests, func() { timer.Stop() })
	})()

	before := machine.ReadCPU()
	crew := &crew{size: g.config.Connections, most: g.config.MaxInFlight, work: func(j job) {
		if err := g.recorder.ended(g.turn(ctx, requests, j)); err != nil {
			fail(err)
		}
	}}
	err := g.dispatch(ctx, func(j job) error {
		full := crew.full()
		if err := g.recorder.scheduled(j.target, j.due, full); err != nil || full {
			return err
		}
		crew.do(j)
		return nil
	})
	crew.wait()
	if err == nil && requests.Err() != nil {
		err = context.Cause(ctx)
	}
	totals, finishErr := g.recorder.finish()
	totals.StealRatio = before.StealRatio(machine.ReadCPU())
	if finishErr != nil {
		err = finishErr
	}
	return totals, err
}

// dispatch calls send for each request when it is due, and never waits for one.
// If it falls behind, because the machine is busy, it sends what is overdue at
// once: latencies count from the due time, so the delay is not lost.
func (g *generator) dispatch(ctx context.Context, send func(job) error) error {
	// The thread's timer slack is set, so it must stay the dispatcher's own.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pacer := pace.New(g.config.Sleep)
	defer pacer.Stop()
	next := newArrivals(g.config)
	for i := int64(0); g.config.Count == 0 || i < g.config.Count; i++ {
		offset := next()
		if g.config.Duration > 0 && offset >= g.config.Duration {
			return nil
		}
		due := g.start.Add(offset)
		pacer.Until(ctx, due)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := send(job{number: i, target: int(i % int64(len(g.requesters))), due: due}); err != nil {
			return err
		}
	}
	return nil
}

// turn makes a request whose turn it is. One that has waited for it is not sent any more
// when the run has been stopped meanwhile, or when it has waited for as long as an answer
// may take: so a run ends within two timeouts of its last request.
func (g *generator) turn(run, requests context.Context, j job) outcome {
	switch {
	case j.waited && run.Err() != nil:
		return outcome{job: j, at: time.Now(), cancelled: true}
	case j.waited && time.Since(j.due) >= g.config.Timeout:
		return outcome{job: j, at: time.Now(), err: errNoTurn}
	}
	return g.request(requests, j)
}

// errNoTurn is of a request that was not sent.
var errNoTurn = fmt.Errorf("wait for one of the connections: %w", context.DeadlineExceeded)

func (g *generator) request(ctx context.Context, j job) outcome {
	o := outcome{job: j, sent: time.Now()}
	o.answer, o.err = g.requesters[j.target].Do(ctx, o.sent.Add(g.config.Timeout))
	o.at = time.Now()
	o.cancelled = o.err != nil && ctx.Err() != nil
	return o
}
