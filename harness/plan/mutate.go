// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/fault"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/observe"
	"github.com/lbmatrix/lbmatrix/harness/pace"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// settleLimit bounds the wait for a stable segment. A memberlist failure needs some
// 8 s and a rejoin up to 65 s in the worst case; a change of configuration below 2 s.
const settleLimit = 70 * time.Second

// baseline makes the observations of the healthy cluster.
func (w *worker) baseline(ctx context.Context, phase journal.PlannedPhase) error {
	if err := w.journal.BeginPhase(phase.Name); err != nil {
		return err
	}
	limit, want := settleLimit, observe.OneEach
	if w.crowded() {
		limit, want = mutationSettleLimit, observe.Crowded
		w.progress("wait for several stable responders per VIP")
	} else {
		w.progress("wait for one stable responder per VIP")
	}
	_, err := w.env.Settle(ctx, pace.Scale(ctx, limit), want)
	if err == nil {
		err = w.pinBackends(ctx)
	}
	if err == nil {
		err = w.observations(ctx, phase.Checks)
	}
	return errors.Join(err, w.journal.EndPhase())
}

// crowded says whether the scenario is known-bad because several nodes answer for a VIP:
// its checks are to see that, so it is waited for and not against.
func (w *worker) crowded() bool {
	return slices.ContainsFunc(w.Scenario.Spec.Expect, func(e scenario.Expectation) bool { return e.Check == "single-responder" })
}

// mutate breaks the cluster, observes it broken, restores it and observes it again.
// The fault is undone whatever happened in between.
func (w *worker) mutate(ctx context.Context, name string, broken, restored journal.PlannedPhase) error {
	nodes, err := w.world.cluster.Nodes(ctx)
	if err != nil {
		return err
	}
	f, err := fault.New(name, fault.Target{
		Dynamic: w.env.Dynamic, MetalLB: w.env.MetalLB, Nodes: nodes, Announcer: w.env.RemoteAnnouncer, Services: w.env.Services, Spare: w.env.Spare,
		Six: w.env.SixVIP, Programs: w.Scenario.Spec.DataPlane.Programs(),
	})
	if err != nil {
		return err
	}
	touched := false // Apply was called: there may be something to undo
	err = w.step(ctx, broken.Name, func(ctx context.Context) error {
		if err := w.journal.BeginPhase(broken.Name); err != nil {
			return err
		}
		healthy, err := w.env.Rested(ctx, pace.Scale(ctx, settleLimit), observe.OneEach)
		if err == nil && !observe.OneEach(healthy) {
			// What is caught on a segment that was broken already was not caught. It is no
			// failure of the harness, either: the checks of the baseline say what is wrong.
			rec := journal.Fault{Name: name, Action: journal.FaultRefuse, Detail: fmt.Sprintf("the segment is not healthy before the fault: %v", healthy)}
			w.progress("%s", rec.Detail)
			return errors.Join(w.journal.Write(journal.KindFault, rec), w.journal.EndPhase())
		}
		if err == nil {
			touched = true
			err = w.fault(ctx, name, journal.FaultApply, f.Apply)
		}
		if err == nil {
			err = w.fault(ctx, name, journal.FaultVerify, func(ctx context.Context) (string, error) { return f.Verify(ctx, true) })
		}
		if err == nil && fault.ShowsOnSegment(name) {
			w.progress("wait for the segment to change and settle")
			_, err = w.env.Settle(ctx, pace.Scale(ctx, mutationSettleLimit), func(now map[string][]string) bool {
				return !maps.EqualFunc(now, healthy, slices.Equal[[]string])
			})
		}
		if err == nil {
			err = w.observations(ctx, broken.Checks)
		}
		return errors.Join(err, w.journal.EndPhase())
	})
	if ctx.Err() != nil || !touched {
		return err
	}
	return errors.Join(err, w.step(ctx, restored.Name, func(ctx context.Context) error {
		if err := w.journal.BeginPhase(restored.Name); err != nil {
			return err
		}
		var watch *observe.Takeover
		var watchErr error
		if slices.Contains(judge.Observations(restored.Checks), journal.ObsTakeover) {
			w.progress("observe %s", journal.ObsTakeover)
			watch, watchErr = observe.BeginTakeover(ctx, w.env)
		}
		// The fault is undone whatever the observer does.
		err := w.fault(ctx, name, journal.FaultUndo, f.Undo)
		if err == nil {
			err = w.fault(ctx, name, journal.FaultVerify, func(ctx context.Context) (string, error) { return f.Verify(ctx, false) })
		}
		if watch != nil {
			watchErr = watch.End()
		}
		err = errors.Join(err, watchErr)
		if err == nil {
			w.progress("wait for one stable responder per VIP")
			_, err = w.env.Settle(ctx, pace.Scale(ctx, settleLimit), observe.OneEach)
		}
		if err == nil {
			err = w.observations(ctx, restored.Checks)
		}
		return errors.Join(err, w.journal.EndPhase())
	}))
}

// mutationSettleLimit bounds the wait for a mutation to show on the segment; one that
// does not is left to the checks, which will say that they missed it.
const mutationSettleLimit = 30 * time.Second

// fault runs one action of a fault and journals it.
func (w *worker) fault(ctx context.Context, name, action string, run func(context.Context) (string, error)) error {
	detail, err := run(ctx)
	rec := journal.Fault{Name: name, Action: action, Detail: detail}
	if err != nil {
		rec.Error = err.Error()
		err = fmt.Errorf("%s fault %s: %w", action, name, err)
	}
	return errors.Join(err, w.journal.Write(journal.KindFault, rec))
}
