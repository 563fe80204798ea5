// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/guest/job"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/preflight"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/harness/vm"
)

// guestAllowance is what a scenario may take in a guest as fast as this machine: on a
// cluster of processes here it takes half of it, mutations included.
const guestAllowance = 2 * time.Minute

// kernelError is a scenario that this machine cannot run for want of something in its kernel.
type kernelError struct{ unsupportedError }

func (e *kernelError) Unwrap() error { return &e.unsupportedError }

// wantsGuest says whether a scenario that could not be configured is to run in a guest:
// the kernel lacks something, the user did not ask for containers, which a guest has not, this
// is no guest already, and the scenario's cluster can be one of processes.
func (r *execution) wantsGuest(sc *scenario.Scenario, cause error) bool {
	var lacks *kernelError
	return errors.As(cause, &lacks) && r.Provider != scenario.ProviderKind && r.matrix.Run.Machine.Accelerator == "" && GuestCanRun(sc)
}

// GuestCanRun says whether a scenario's cluster can be one of processes, whatever its
// kernel: Cilium needs a kubelet, and a guest has no containers.
func GuestCanRun(sc *scenario.Scenario) bool {
	return sc.Spec.Cluster.Provider != scenario.ProviderKind && sc.Spec.Cluster.CNI != scenario.CNICilium
}

// guest runs a scenario in a guest whose kernel has what this one lacks. What cannot be had
// there either, or no guest at all, leaves it unsupported, for both reasons.
func (r *execution) guest(ctx context.Context, sc *scenario.Scenario, dir string, c plan.Config, lacks error) error {
	err := r.inGuest(ctx, sc, dir, lacks)
	if _, missing := os.Stat(filepath.Join(dir, journal.FileName)); err == nil || missing == nil {
		return err
	}
	return errors.Join(err, notStarted(c, err))
}

func (r *execution) inGuest(ctx context.Context, sc *scenario.Scenario, dir string, lacks error) error {
	if err := r.ownElsewhere(sc, true); err != nil {
		return err
	}
	if err := r.openStore(ctx); err != nil {
		return err
	}
	name := sc.Metadata.Name
	r.note("%s: %s; it will run in a guest", name, firstReason(lacks))
	began := time.Now()
	logs := filepath.Join(dir, GuestDir)
	spec := filepath.Join(logs, "scenario.json")
	if err := writeSpec(sc, spec); err != nil {
		return err
	}
	incoming := filepath.Join(logs, "incoming")
	told := &lines{each: func(line string) { r.note("%s: in the guest: %s", name, line) }}
	report, err := vm.Run(ctx, vm.Options{
		Args: guestArgs(sc, r.Mutations), Allowance: guestAllowance, Store: r.store, Program: r.Program, Sets: []artifact.Set{SetOf(sc, scenario.ProviderNetns)},
		Files: map[string]string{name + ".yaml": spec}, Dir: logs, Results: incoming, Suits: suits(ctx, sc),
		Note: func(text string) { r.note("%s: %s", name, text) },
		Output: func(stream string, data []byte) {
			if stream == "stderr" {
				told.write(data)
			}
		},
	})
	err = errors.Join(err, takeIn(incoming, name, dir))
	if fix, ok := vm.Unsupported(err); ok {
		return &unsupportedError{journal.Unsupported{Missing: append(reasons(lacks), err.Error()), Fix: fix}}
	}
	if err == nil {
		err = r.ranIn(report)
	}
	r.timing("guest for "+name, began)
	return err
}

// guestArgs is the command that runs a scenario in a guest: with those of the mutations that
// were asked for which it has.
func guestArgs(sc *scenario.Scenario, chosen plan.Mutations) []string {
	args := []string{"run", "--file", sc.Metadata.Name + ".yaml", "--provider", scenario.ProviderNetns}
	switch own := chosen.Of(sc); {
	case own.None:
		args = append(args, "--skip-mutations")
	case len(own.Only) > 0:
		args = append(args, "--mutations", strings.Join(own.Only, ","))
	}
	return args
}

// ranIn says what a guest's report leaves to say: how a scenario went is in its journal.
func (r *execution) ranIn(g job.Report) error {
	if g.Killed {
		return fmt.Errorf("the scenario did not end within %s in the guest and was ended", g.Limit.Round(time.Second))
	}
	return nil
}

// suits says what a guest's kernel lacks for a scenario.
func suits(ctx context.Context, sc *scenario.Scenario) func(artifact.Guest) error {
	return func(g artifact.Guest) error {
		kernel, err := preflight.At(os.DirFS(g.Root), g.Release)
		if err != nil {
			return err
		}
		if u := preflight.Lacks(kernel, sc); u != nil {
			return &unsupportedError{*u}
		}
		return nil
	}
}

// writeSpec writes a scenario as it was resolved: JSON is YAML, too.
func writeSpec(sc *scenario.Scenario, file string) error {
	raw, err := json.MarshalIndent(sc, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = os.WriteFile(file, append(raw, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write scenario for the guest: %w", err)
	}
	return nil
}

// takeIn moves what a guest's run left of a scenario into its folder here, and the run's
// own description beside the guest's log.
func takeIn(incoming, name, dir string) error {
	defer os.RemoveAll(incoming)
	runs, err := filepath.Glob(filepath.Join(incoming, "*", report.RunFile))
	if err != nil || len(runs) == 0 {
		return err
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(runs[0]), name, "*"))
	if err != nil {
		return fmt.Errorf("take in results: %w", err)
	}
	for _, f := range files {
		if err := os.Rename(f, filepath.Join(dir, filepath.Base(f))); err != nil {
			return fmt.Errorf("take in results: %w", err)
		}
	}
	if err := os.Rename(runs[0], filepath.Join(dir, GuestDir, report.RunFile)); err != nil {
		return fmt.Errorf("take in results: %w", err)
	}
	return nil
}

func reasons(err error) []string {
	var lacks *unsupportedError
	if errors.As(err, &lacks) {
		return append([]string(nil), lacks.Missing...)
	}
	return []string{err.Error()}
}

func firstReason(err error) string { return strings.Join(reasons(err), "; ") }

// lines hands whole lines on.
type lines struct {
	each func(string)
	rest []byte
}

func (l *lines) write(p []byte) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte{'\n'})
		if !ok {
			return
		}
		l.each(strings.TrimSpace(string(line)))
		l.rest = rest
	}
}
