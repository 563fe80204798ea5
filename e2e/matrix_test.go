// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/e2e-framework/pkg/env"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/fault"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

// environment is e2e-framework's; it must live outside TestMain to be reached by tests.
var environment env.Environment

func TestMain(m *testing.M) {
	// The test binary is its own worker.
	if len(os.Args) > 1 && os.Args[1] == plan.WorkerCommand {
		os.Exit(plan.WorkerMain(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	environment = env.New()
	os.Exit(environment.Run(m))
}

func TestMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real clusters; " + commandLine)
	}
	deadline, limited := t.Deadline()
	if err := refuse(time.Now(), deadline, limited, testlog()); err != nil {
		t.Fatal(err)
	}
	all, err := scenarios.All(scenario.Options{Mutations: fault.Names(), Checks: judge.IDs()})
	if err != nil {
		t.Fatal(err)
	}
	var n tally
	for _, sc := range all {
		environment.Test(t, feature(sc, &n))
	}
	if err := n.check(); err != nil && !t.Failed() {
		t.Error(err)
	}
}

// feature runs a scenario in its set-up and assesses every planned cell.
func feature(sc *scenario.Scenario, n *tally) features.Feature {
	var matrix report.Matrix
	f := features.New(sc.Metadata.Name).Setup(func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
		deadline, limited := t.Deadline()
		if err := inTime(time.Now(), deadline, limited, neededAgain); err != nil {
			t.Errorf("run %s: %v", sc.Metadata.Name, err) // not Fatal, for the same reason
			return ctx
		}
		m, err := execute(ctx, t, sc)
		if err != nil {
			// Not Fatal: a set-up that stops skips the assessments, which then look fine.
			t.Errorf("run %s: %v", sc.Metadata.Name, err)
		}
		matrix = m
		for _, c := range asAWhole(m) {
			switch report.GoTest(c.Result) {
			case report.GoTestOK, report.GoTestSkip:
				t.Log(report.Explain(c))
			default: // whatever -run selects: a cluster that could not be deleted is told of
				t.Error(report.Explain(c))
			}
		}
		return ctx
	})
	for _, phase := range plan.Phases(sc, false) {
		for _, check := range phase.Checks {
			f = f.Assess(cellName(phase.Name, check), func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
				c := find(matrix, phase.Name, check)
				n.add(c.Result)
				tell(t, c)
				return ctx
			})
		}
	}
	return f.Feature()
}

// cellName is a cell's name as a test: the check alone on the baseline.
func cellName(phase, check string) string {
	if phase == journal.PhaseBaseline {
		return check
	}
	return phase + "/" + check
}

// execute runs one scenario. Its cluster is deleted by the worker, or by its ledger when
// the worker was killed; when this process is killed, the worker notices and cleans up.
func execute(ctx context.Context, t *testing.T, sc *scenario.Scenario) (report.Matrix, error) {
	self, err := os.Executable()
	if err != nil {
		return report.Matrix{}, fmt.Errorf("find the test binary: %w", err)
	}
	results := os.Getenv("LBMATRIX_RESULTS")
	if results == "" {
		results = "../results"
	}
	source := artifact.Source(os.Getenv("LBMATRIX_SOURCE"))
	if source == "" {
		source = artifact.GoModule // no test asks the network for anything else unless told to
	}
	m, dir, err := runner.Run(ctx, runner.Options{
		Scenarios: []*scenario.Scenario{sc}, Named: true, Args: os.Args, Results: results, Keep: plan.KeepNever,
		Source: source, Version: "test", Worker: []string{self, plan.WorkerCommand},
		Progress: func(e plan.Event) {
			if e.Type == plan.StepEnd {
				t.Logf("[%d/%d] %s %d ms %s", e.Index, e.Steps, e.Step, e.Elapsed, e.Error)
			}
		},
		Artifacts: func(e artifact.Event) {
			if e.State == artifact.Done || e.State == artifact.Failed {
				t.Logf("%s: %s %s", e.Artifact, e.State, e.Detail)
			}
		},
	})
	t.Logf("results: %s", dir)
	return m, err
}

// asAWhole are the cells that stand for the run or a scenario as a whole.
func asAWhole(m report.Matrix) []judge.Cell {
	var out []judge.Cell
	for _, s := range m.AllSuites() {
		for _, c := range s.AllCells() {
			if c.Check == report.CheckScenarioRan {
				out = append(out, c)
			}
		}
	}
	return out
}

func find(m report.Matrix, phase, check string) judge.Cell {
	for _, s := range m.Suites {
		for _, c := range s.Cells {
			if c.Phase == phase && c.Check == check {
				return c
			}
		}
	}
	why := "the scenario gave no verdict for it"
	for _, s := range m.Suites {
		if s.NotRun != "" {
			why = s.NotRun
		}
	}
	return judge.Cell{
		Phase: phase, Check: check, Result: judge.ResultBroken,
		Verdict: judge.Verdict{Outcome: judge.Broken, Code: "no-data", Message: why},
	}
}

// tell says a cell's result in go test's words, by the one table.
func tell(t *testing.T, c judge.Cell) {
	t.Helper()
	text := report.Explain(c)
	var figures []string
	for _, f := range c.Verdict.Figures {
		figures = append(figures, fmt.Sprintf("%s = %.4g %s (n=%d)", f.Name, f.Value, f.Unit, f.N))
	}
	if len(figures) > 0 {
		text += "\n" + strings.Join(figures, "\n")
	}
	switch report.GoTest(c.Result) {
	case report.GoTestOK:
		t.Log(text)
	case report.GoTestSkip:
		t.Skip(text)
	default:
		t.Error(text)
	}
}
