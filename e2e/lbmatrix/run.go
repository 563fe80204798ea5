// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package lbmatrix runs scenarios of lbmatrix as Go tests, in this project and in others:
// a CNI, a proxy or a load balancer proves a change of its own on every data plane.
//
//	func TestMain(m *testing.M) { lbmatrix.Main(m) }
//
//	func TestLoadBalancer(t *testing.T) {
//		lbmatrix.Run(t, lbmatrix.Options{
//			Scenarios: []string{"kube-proxy-iptables-metallb-l2"},
//			Images:    []string{"metallb/speaker=example.org/speaker:dev"},
//		})
//	}
//
// Every scenario is a subtest (a feature of e2e-framework), every cell of the matrix one
// of its. The scenario runs as a whole, in a worker process, whatever -run selects: proof
// and observations are never left out. The package holds no logic of its own; it maps the
// cells that [runner.Run] returns.
package lbmatrix

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"sigs.k8s.io/e2e-framework/pkg/env"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// Options say what to run. The zero value is every scenario, with artifacts from
// $LBMATRIX_SOURCE, by default Go modules.
type Options struct {
	Scenarios []string // names, as `lbmatrix list` prints them
	Files     []string // scenario files of your own

	// Builds of your own in place of what components publish, as the flags --image,
	// --chart and --set of `lbmatrix run` take them.
	Images []string // COMPONENT[/IMAGE]=REFERENCE or =ARCHIVE
	Charts []string // COMPONENT=PATH
	Set    []string // COMPONENT.KEY=VALUE

	Source  string   // auto, registry or go-module; "" is $LBMATRIX_SOURCE, else go-module
	Mirrors []string // HOST=TARGET; nil is $LBMATRIX_REGISTRY_MIRROR
	Pins    string   // file of digests; "" is the user's

	Provider string // auto, kind or netns; "" is auto

	// Results is the folder that run folders are made in; "" is $LBMATRIX_RESULTS, else
	// results in the package's folder.
	Results string
	// SkipMutations leaves the known-bad phases out: nothing then proves that the checks
	// can fail. Mutations, where it is not empty, are the only ones that run.
	SkipMutations bool
	Mutations     []string
}

func (o Options) mutations() plan.Mutations {
	return plan.Mutations{None: o.SkipMutations, Only: o.Mutations}
}

// mainMark says in the environment of a test process that Main runs it.
const mainMark = "LBMATRIX_TEST_MAIN"

// Main is the TestMain of a test that calls Run: the test binary is its own worker. It
// does not return.
func Main(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == plan.WorkerCommand {
		os.Exit(plan.WorkerMain(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	if err := os.Setenv(mainMark, strconv.Itoa(os.Getpid())); err != nil {
		fmt.Fprintln(os.Stderr, "lbmatrix:", err)
		os.Exit(report.ExitBroken)
	}
	os.Exit(m.Run())
}

// Run runs scenarios on real clusters, one subtest a scenario and one of its a check. What
// this machine cannot run is skipped with the reason, and when that is everything the test
// fails. It skips itself with -short.
func Run(t *testing.T, o Options) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs real clusters; " + commandLine(t.Name()))
	}
	if os.Getenv(mainMark) != strconv.Itoa(os.Getpid()) {
		t.Fatal("the test binary is its own worker: write `func TestMain(m *testing.M) { lbmatrix.Main(m) }` beside this test")
	}
	deadline, limited := t.Deadline()
	if err := refuse(t.Name(), time.Now(), deadline, limited, testlog()); err != nil {
		t.Fatal(err)
	}
	all, err := runner.Choose(o.Scenarios, o.Files)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.mutations().Check(all); err != nil {
		t.Fatalf("mutations: %v", err)
	}
	from, err := o.specs().Read(all)
	if err != nil {
		t.Fatal(err)
	}
	environment := env.New()
	var n tally
	for _, sc := range all {
		environment.Test(t, feature(sc, o, from, &n))
	}
	if err := n.check(); err != nil && !t.Failed() {
		t.Error(err)
	}
}

func (o Options) specs() runner.Specs {
	s := runner.Specs{Source: o.Source, Pins: o.Pins, Mirrors: o.Mirrors, Images: o.Images, Charts: o.Charts, Sets: o.Set}
	if s.Source == "" {
		s.Source = os.Getenv("LBMATRIX_SOURCE")
	}
	if s.Source == "" {
		s.Source = string(artifact.GoModule) // no test asks the network for anything else unless told to
	}
	return s
}

// feature runs a scenario in its set-up and assesses every planned cell.
func feature(sc *scenario.Scenario, o Options, from runner.From, n *tally) features.Feature {
	var matrix report.Matrix
	f := features.New(sc.Metadata.Name).Setup(func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
		deadline, limited := t.Deadline()
		if err := inTime(t.Name(), time.Now(), deadline, limited, neededAgain); err != nil {
			// Not Fatal: a set-up that stops skips the assessments, which then look fine.
			t.Errorf("run %s: %v", sc.Metadata.Name, err)
			return ctx
		}
		m, err := execute(ctx, t, sc, o, from)
		if err != nil {
			t.Errorf("run %s: %v", sc.Metadata.Name, err) // not Fatal, for the same reason
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
	for _, phase := range plan.Phases(sc, o.mutations()) {
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

// execute runs one scenario. Its cluster is deleted by the worker, or by its ledger when
// the worker was killed; when this process is killed, the worker notices and cleans up.
func execute(ctx context.Context, t *testing.T, sc *scenario.Scenario, o Options, from runner.From) (report.Matrix, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		return report.Matrix{}, fmt.Errorf("find the test binary: %w", err)
	}
	results := o.Results
	if results == "" {
		results = os.Getenv("LBMATRIX_RESULTS")
	}
	if results == "" {
		results = "results"
	}
	m, dir, err := runner.Run(ctx, runner.Options{
		Scenarios: []*scenario.Scenario{sc}, Named: true, Args: os.Args, Results: results, Keep: plan.KeepNever,
		From: from, Provider: o.Provider, Mutations: o.mutations(), Version: "test", Worker: []string{self, plan.WorkerCommand}, Note: func(line string) { t.Log(line) },
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
