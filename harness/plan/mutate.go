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
	"github.com/lbmatrix/lbmatrix/harness/observe"
)

// settleLimit bounds the wait for a stable segment. A memberlist failure needs some
// 8 s and a rejoin up to 65 s in the worst case; a change of configuration below 2 s.
const settleLimit = 70 * time.Second

// baseline makes the observations of the healthy cluster.
func (w *worker) baseline(ctx context.Context, phase journal.PlannedPhase) error {
	if err := w.journal.BeginPhase(phase.Name); err != nil {
		return err
	}
	w.progress("wait for one stable responder per VIP")
	_, err := w.env.Settle(ctx, settleLimit, observe.OneEach)
	if err == nil {
		err = w.pinRemote(ctx)
	}
	if err == nil {
		err = w.observations(ctx, phase.Checks)
	}
	return errors.Join(err, w.journal.EndPhase())
}

// mutate breaks the cluster, observes it broken, restores it and observes it again.
// The fault is undone whatever happened in between.
func (w *worker) mutate(ctx context.Context, name string, broken, restored journal.PlannedPhase) error {
	nodes, err := w.world.cluster.Nodes(ctx)
	if err != nil {
		return err
	}
	f, err := fault.New(name, fault.Target{Dynamic: w.env.Dynamic, MetalLB: w.env.MetalLB, Nodes: nodes, Announcer: w.env.RemoteAnnouncer})
	if err != nil {
		return err
	}
	touched := false // Apply was called: there may be something to undo
	err = w.step(ctx, broken.Name, func(ctx context.Context) error {
		if err := w.journal.BeginPhase(broken.Name); err != nil {
			return err
		}
		healthy, err := w.env.Settle(ctx, settleLimit, observe.OneEach)
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
			_, err = w.env.Settle(ctx, mutationSettleLimit, func(now map[string][]string) bool {
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
		err := w.fault(ctx, name, journal.FaultUndo, f.Undo)
		if err == nil {
			err = w.fault(ctx, name, journal.FaultVerify, func(ctx context.Context) (string, error) { return f.Verify(ctx, false) })
		}
		if err == nil {
			w.progress("wait for one stable responder per VIP")
			_, err = w.env.Settle(ctx, settleLimit, observe.OneEach)
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
