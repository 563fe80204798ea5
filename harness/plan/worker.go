// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/component"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
	"github.com/lbmatrix/lbmatrix/harness/observe"
)

// worker runs the plan of one scenario.
type worker struct {
	Config
	journal *journal.Writer
	ledger  *ledger.Ledger
	events  *emitter
	log     io.Writer
	steps   []string
	done    int
	env     *observe.Env
	echo    *component.Echo
	world   *world
	began   time.Time
}

// Work runs one scenario to its end. It returns an error only where it could not
// keep its journal: everything else is in there. Events go to stdout, logs to log.
//
// When ctx ends it stops at once, with the cluster still there: kind and Helm cannot
// be cancelled from within. The caller ends the process and cleans up by the ledger.
func Work(ctx context.Context, c Config, stdout, log io.Writer) (err error) {
	w := &worker{
		Config: c, log: log, steps: Steps(c.Scenario, c.Mutations),
		events: &emitter{w: stdout, scenario: c.Scenario.Metadata.Name}, began: time.Now(),
	}
	header, err := Header(c)
	if err != nil {
		return err
	}
	if w.ledger, err = ledger.Open(c.LedgerDir, LedgerName(c)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.ledger.Close(false)) }()
	if w.journal, err = journal.Create(filepath.Join(c.Dir, journal.FileName), header); err != nil {
		return err
	}
	cause := w.run(c.paced(ctx))
	reason := journal.ReasonDone
	switch {
	case ctx.Err() != nil:
		reason = journal.ReasonInterrupted
	case cause != nil:
		reason = journal.ReasonFailed
	}
	return w.journal.Close(reason, cause)
}

// Header is the first record of a scenario's journal.
func Header(c Config) (journal.Header, error) {
	spec, err := json.Marshal(c.Scenario)
	if err != nil {
		return journal.Header{}, fmt.Errorf("encode scenario: %w", err)
	}
	digest, err := c.Scenario.Digest()
	if err != nil {
		return journal.Header{}, fmt.Errorf("digest scenario: %w", err)
	}
	return journal.Header{
		Scenario: c.Scenario.Metadata.Name, ScenarioDigest: digest, Spec: spec,
		Phases: Phases(c.Scenario, c.Mutations), Versions: c.Versions, Where: c.where(), Machine: c.Machine, Provider: c.Provider,
	}, nil
}

// run takes the steps. A failed step ends the plan, but what exists is collected and
// deleted; a failed delete leaves the ledger to clean.
func (w *worker) run(ctx context.Context) error {
	cause := w.build(ctx)
	if cause == nil {
		cause = w.phases(ctx)
	}
	if ctx.Err() != nil {
		return errors.Join(cause, ctx.Err())
	}
	good := cause == nil && w.green()
	if !good && w.world != nil {
		cause = errors.Join(cause, w.step(ctx, "collect", w.collect))
	}
	if w.Keep == KeepAlways || (w.Keep == KeepOnFailure && !good) {
		return errors.Join(cause, w.keep(ctx))
	}
	return errors.Join(cause, w.step(ctx, "delete", w.delete))
}

// keep leaves the cluster to whoever wants to look at it.
func (w *worker) keep(ctx context.Context) error {
	if w.world == nil {
		return nil
	}
	if err := w.world.cluster.Keep(ctx); err != nil {
		return err
	}
	w.events.emit(Event{Type: Kept, Message: "the cluster is kept: " + w.world.cluster.Reach() + "; remove it with `lbmatrix clean`"})
	return nil
}

// build makes the cluster and everything in it.
func (w *worker) build(ctx context.Context) error {
	if err := w.step(ctx, "create", w.create); err != nil {
		return err
	}
	for _, c := range w.Scenario.Spec.Components {
		if err := w.step(ctx, "install "+c.Name, func(ctx context.Context) error { return w.install(ctx, c) }); err != nil {
			return err
		}
	}
	return w.step(ctx, "deploy", w.deploy)
}

// step runs one named step, journals it and tells the parent.
func (w *worker) step(ctx context.Context, name string, run func(context.Context) error) error {
	w.done++
	ev := Event{Step: name, Index: w.done, Steps: len(w.steps)}
	ev.Type = StepBegin
	w.events.emit(ev)
	if err := w.journal.Write(journal.KindStepBegin, journal.Step{Name: name}); err != nil {
		return err
	}
	started := time.Now()
	err := run(ctx)
	if err == nil {
		err = ctx.Err()
	}
	end := journal.Step{Name: name, ElapsedMS: time.Since(started).Milliseconds()}
	if err != nil {
		if died := w.died(); died != nil && !strings.Contains(err.Error(), died.Error()) {
			err = errors.Join(err, died)
		}
		end.Error = err.Error()
	}
	ev.Type, ev.Elapsed, ev.Error = StepEnd, end.ElapsedMS, end.Error
	w.events.emit(ev)
	if jerr := w.journal.Write(journal.KindStepEnd, end); jerr != nil {
		return errors.Join(err, jerr)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// died says what a step may have failed for.
func (w *worker) died() error {
	if w.world == nil {
		return nil
	}
	if c, ok := w.world.cluster.(supervised); ok {
		return c.Died()
	}
	return nil
}

func (w *worker) progress(format string, args ...any) {
	w.events.emit(Event{Type: Progress, Message: fmt.Sprintf(format, args...)})
}

// green judges what was recorded so far, to decide whether the cluster is worth keeping.
func (w *worker) green() bool {
	j, err := journal.ReadFile(filepath.Join(w.Dir, journal.FileName))
	if err != nil {
		return false
	}
	cells, err := judge.Journal(j)
	if err != nil || len(cells) == 0 {
		return false
	}
	for _, c := range cells {
		if c.Result.Red() || c.Result == judge.ResultBroken {
			return false
		}
	}
	return true
}

// observations makes the observations that the checks of a phase need.
func (w *worker) observations(ctx context.Context, checks []string) error {
	for _, id := range judge.Observations(judge.Possible(w.Machine, checks)) {
		if id == journal.ObsTakeover {
			continue // made while the fault was undone
		}
		w.progress("observe %s", id)
		if err := observe.Run(ctx, w.env, id); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) phases(ctx context.Context) error {
	planned := Phases(w.Scenario, w.Mutations)
	for i := 0; i < len(planned); i++ {
		phase := planned[i]
		if phase.Skipped != "" {
			continue
		}
		var err error
		if name, ok := strings.CutPrefix(phase.Name, journal.PrefixMutation); ok {
			err = w.mutate(ctx, name, phase, planned[i+1])
			i++ // the restored phase belongs to it
		} else {
			err = w.step(ctx, phase.Name, func(ctx context.Context) error { return w.baseline(ctx, phase) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}
