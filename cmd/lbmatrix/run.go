// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/fault"
	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

// runFlags are the flags of run.
type runFlags struct {
	keep, provider, results, resume, shard, format string
	files, sweep                                   []string
	mutations                                      plan.Mutations
	dryRun                                         bool
	from                                           fromFlags
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [SCENARIO...]",
		Short: "Run scenarios on real clusters and write the matrix",
		Long: `Run brings up one cluster a scenario, measures on the wire, breaks and restores it as the scenario's mutations say,
and deletes it. Without a scenario it runs all. Ctrl-C stops, removes what exists and keeps what was found.`,
		Example: `  lbmatrix run
  lbmatrix run kube-proxy-iptables-metallb-l2 --keep on-failure
  lbmatrix run --file my-scenario.yaml --source go-module
  lbmatrix run --mutations no-l2-advertisement,ip-forward-off
  lbmatrix run --image metallb/speaker=example.org/speaker:dev --set metallb.speaker.logLevel=debug
  lbmatrix run --resume results/latest`,
		ValidArgsFunction: completeScenarios,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runScenarios(cmd, f, args) },
	}
	f.define(cmd)
	return cmd
}

// parseRun reads the arguments of a run without running it: flags, and the scenarios named.
func (a *app) parseRun(args []string) (runFlags, []string, error) {
	var f runFlags
	cmd := &cobra.Command{Use: "run"}
	f.define(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		return f, nil, err
	}
	return f, cmd.Flags().Args(), nil
}

// define adds the flags to a command.
func (f *runFlags) define(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.keep, "keep", string(plan.KeepNever), "keep the cluster: never, on-failure or always")
	f.from.sourceFlags(cmd)
	f.from.ownFlags(cmd)
	cmd.Flags().StringVar(&f.provider, "provider", runner.ProviderAuto, "who makes the clusters: kind (containers), netns (processes in namespaces) or auto: kind where a Docker daemon answers, else netns")
	_ = cmd.RegisterFlagCompletionFunc("provider", fixed(runner.ProviderAuto, scenario.ProviderKind, scenario.ProviderNetns))
	cmd.Flags().StringVar(&f.results, "results", "results", "folder that run folders are made in")
	cmd.Flags().StringVar(&f.resume, "resume", "", "go on with a run that was cut off: its folder")
	cmd.Flags().StringVar(&f.shard, "shard", "", "run the i-th of n parts of the scenarios: i/n")
	cmd.Flags().StringArrayVar(&f.files, "file", nil, "run the scenario in this file; may be repeated")
	cmd.Flags().StringArrayVar(&f.sweep, "sweep", nil, "run each scenario once for each version: NAME=VERSION[,VERSION...], NAME being kubernetes or a component, of which a pin is there (docs/artifacts.md); may be repeated for every combination")
	cmd.Flags().BoolVar(&f.mutations.None, "skip-mutations", false, "leave out the known-bad phases")
	cmd.Flags().StringSliceVar(&f.mutations.Only, "mutations", nil, "of the known-bad phases run those with these mutations only: NAME[,NAME...]")
	_ = cmd.RegisterFlagCompletionFunc("mutations", fixed(fault.Names()...))
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print the plan and stop")
	_ = cmd.RegisterFlagCompletionFunc("keep", fixed(string(plan.KeepNever), string(plan.KeepOnFailure), string(plan.KeepAlways)))
	outputFlag(cmd, &f.format, "text", "json")
}

// choose resolves what the command line names.
func choose(f runFlags, names []string) ([]*scenario.Scenario, error) {
	axes, err := scenario.ParseSweep(f.sweep)
	if err != nil {
		return nil, usageError(err)
	}
	if f.resume != "" && f.shard != "" {
		return nil, usageError(errors.New("--resume goes on with the scenarios of that run: no --shard"))
	}
	if f.resume != "" && len(axes) == 0 {
		if names, err = resumed(f, names); err != nil {
			return nil, usageError(err)
		}
	}
	all, err := runner.Choose(names, f.files)
	switch {
	case err != nil && len(names)+len(f.files) == 0:
		return nil, failed(err) // they come with the program
	case err != nil:
		return nil, usageError(err)
	}
	if all, err = scenario.Sweep(all, axes, runner.LoadOptions()); err != nil {
		return nil, usageError(err)
	}
	if err := checkMutations(f, all); err != nil {
		return nil, usageError(fmt.Errorf("--mutations: %w", err))
	}
	if f.resume != "" {
		return inOrder(all, f.resume)
	}
	return shard(all, f.shard)
}

// checkMutations looks for the mutations before the scenarios are sharded: a shard may have
// none with them. Of a run that is gone on with it is not known what it was a shard of, so
// that any scenario of the catalogue may have them.
func checkMutations(f runFlags, all []*scenario.Scenario) error {
	if f.resume != "" {
		catalogue, err := scenarios.All(runner.LoadOptions())
		if err != nil {
			return err
		}
		all = slices.Concat(all, catalogue)
	}
	return f.mutations.Check(all)
}

// resumed names the catalogue's scenarios of the run that is gone on with: all it was
// asked for, but those that were in files, which must be named again.
func resumed(f runFlags, names []string) ([]string, error) {
	if len(names) > 0 {
		return nil, errors.New("--resume goes on with the scenarios of that run: name none, but with --sweep")
	}
	old, err := report.ReadRun(f.resume)
	if err != nil {
		return nil, fmt.Errorf("--resume %s: %w", f.resume, err)
	}
	if len(old.Scenarios) == 0 {
		return nil, fmt.Errorf("--resume %s: its run.json names no scenarios; start a new run", f.resume)
	}
	from := map[string]bool{}
	for _, file := range f.files {
		if sc, err := scenario.LoadFile(file, runner.LoadOptions()); err == nil {
			from[sc.Metadata.Name] = true
		}
	}
	for _, name := range old.Scenarios {
		if from[name] {
			continue
		}
		if !slices.Contains(scenarios.Names(), name) {
			return nil, fmt.Errorf("--resume %s: scenario %s is not in the catalogue: give its --file, or the scenarios and their --sweep, again", f.resume, name)
		}
		names = append(names, name)
	}
	return names, nil
}

// inOrder keeps the scenarios of the run that is gone on with, in its order: of a sweep it
// may have run a shard.
func inOrder(all []*scenario.Scenario, dir string) ([]*scenario.Scenario, error) {
	old, err := report.ReadRun(dir)
	if err != nil {
		return nil, usageError(fmt.Errorf("--resume %s: %w", dir, err))
	}
	var out []*scenario.Scenario
	for _, name := range old.Scenarios {
		i := slices.IndexFunc(all, func(s *scenario.Scenario) bool { return s.Metadata.Name == name })
		if i < 0 {
			return nil, usageError(fmt.Errorf("--resume %s: its scenario %s is not among those named now", dir, name))
		}
		out = append(out, all[i])
	}
	if len(out) == 0 {
		return nil, usageError(fmt.Errorf("--resume %s: its run.json names no scenarios; start a new run", dir))
	}
	return out, nil
}

// shard takes every n-th scenario, beginning with the i-th.
func shard(all []*scenario.Scenario, spec string) ([]*scenario.Scenario, error) {
	if spec == "" {
		return all, nil
	}
	var i, n int
	if c, err := fmt.Sscanf(spec, "%d/%d", &i, &n); err != nil || c != 2 || i < 1 || i > n || fmt.Sprintf("%d/%d", i, n) != spec {
		return nil, usageError(fmt.Errorf("--shard %s: want i/n with 1 <= i <= n, for example 2/3", spec))
	}
	var out []*scenario.Scenario
	for k := i - 1; k < len(all); k += n {
		out = append(out, all[k])
	}
	return out, nil
}

func (a *app) runScenarios(cmd *cobra.Command, f runFlags, args []string) error {
	if cmd.Flags().Changed("mutations") && len(f.mutations.Only) == 0 {
		return usageError(errors.New("--mutations: want NAME[,NAME...]; without the flag all run, with --skip-mutations none"))
	}
	keep, err := plan.ParseKeep(f.keep)
	if err != nil {
		return usageError(err)
	}
	provider, err := runner.ParseProvider(f.provider)
	if err != nil {
		return usageError(err)
	}
	all, err := choose(f, args)
	if err != nil {
		return err
	}
	from, err := f.from.read(all)
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.printPlan(all, f, from)
	}
	self, err := os.Executable()
	if err != nil {
		return failed(fmt.Errorf("find own program: %w", err))
	}
	show := newDisplay(a.stderr)
	m, dir, err := runner.Run(cmd.Context(), runner.Options{
		Scenarios: all, Named: len(args)+len(f.files) > 0, Args: append([]string{"lbmatrix"}, a.args...),
		Results: f.results, Resume: f.resume, Keep: keep, From: from, Provider: provider, Mutations: f.mutations,
		Version: version(), Worker: []string{self, plan.WorkerCommand}, Program: self,
		Progress: show.event, Artifacts: show.artifact, Note: show.note,
	})
	show.done()
	if err != nil {
		return failed(err)
	}
	return a.finish(m, dir, f.format)
}

// finish prints a matrix and turns it into the exit code.
func (a *app) finish(m report.Matrix, dir, format string) error {
	if format == "json" {
		if err := report.WriteVerdicts(a.stdout, m); err != nil {
			return failed(err)
		}
	} else {
		if err := report.WriteText(a.stdout, m); err != nil {
			return failed(err)
		}
		fmt.Fprintf(a.stdout, "\nresults: %s\n", relative(dir))
	}
	return exitOf(m)
}

// exitOf turns a matrix into the exit code.
func exitOf(m report.Matrix) error {
	if m.Run.Exit != report.ExitOK {
		return &exitError{code: m.Run.Exit}
	}
	return nil
}

// relative shortens a path below the working directory.
func relative(dir string) string {
	wd, err := os.Getwd()
	if err != nil {
		return dir
	}
	if rel, err := filepath.Rel(wd, dir); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return dir
}
