// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package runner executes scenarios: it makes the run's folder, sees to the artifacts,
// starts one worker a scenario, cleans up after it and writes the matrix as it grows.
package runner

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/cluster/kind"
	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
	"github.com/lbmatrix/lbmatrix/harness/pace"
	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// Options say what to run and how.
type Options struct {
	Scenarios []*scenario.Scenario
	Named     bool     // scenarios were named on the command line
	Args      []string // for run.json
	Results   string   // folder of runs
	Resume    string   // folder of a run to go on with; "" starts a new one
	Keep      plan.Keep
	// From says where artifacts come from, and what the user's own builds are.
	From From
	// Provider makes the clusters: ProviderAuto, kind or netns.
	Provider string
	// Mutations says which known-bad phases run.
	Mutations plan.Mutations
	Version   string // of lbmatrix
	// Worker starts a worker: the path of its configuration is appended.
	Worker    []string
	WorkerEnv []string
	// Program is the lbmatrix that runs in guests; "" builds it.
	Program   string
	Progress  func(plan.Event)
	Artifacts func(artifact.Event)
	// Note tells a person something between the steps.
	Note func(string)
}

// Run runs the scenarios one after another and returns what they found. The matrix is
// on disk whenever Run returns, and after every scenario. The error is only of the
// harness itself; what went wrong in a scenario is in the matrix.
func Run(ctx context.Context, o Options) (report.Matrix, string, error) {
	r := &execution{Options: o}
	var err error
	if r.Provider, err = ParseProvider(o.Provider); err != nil {
		return r.matrix, "", fmt.Errorf("run: %w", err)
	}
	if err := r.begin(); err != nil {
		return r.matrix, r.dir, err
	}
	for _, sc := range o.Scenarios {
		if ctx.Err() != nil {
			break
		}
		r.add(r.scenario(ctx, sc))
		if err := r.write(ctx); err != nil {
			return r.matrix, r.dir, err
		}
	}
	return r.matrix, r.dir, r.end(ctx)
}

type execution struct {
	Options
	dir    string
	matrix report.Matrix
	store  *artifact.Store
}

func (r *execution) begin() error {
	started := time.Now().UTC()
	r.matrix.Run = report.Run{
		Started: started, Args: r.Args, Named: r.Named, Machine: machine(),
		Versions: map[string]string{"lbmatrix": r.Version},
	}
	for _, sc := range r.Scenarios {
		r.matrix.Run.Scenarios = append(r.matrix.Run.Scenarios, sc.Metadata.Name)
	}
	if r.Resume != "" {
		return r.resume()
	}
	name := "matrix"
	if len(r.Scenarios) == 1 {
		name = r.Scenarios[0].Metadata.Name
	}
	dir, id, err := newFolder(r.Results, name, started)
	if err != nil {
		return err
	}
	r.dir, r.matrix.Run.ID = dir, id
	return report.WriteRun(dir, r.matrix.Run)
}

// resume takes over the folder of a run that was cut off. Scenarios with a whole
// journal stay as they are; the others run again.
func (r *execution) resume() error {
	dir, err := filepath.EvalSymlinks(r.Resume)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return fmt.Errorf("resume run: %w", err)
	}
	old, err := report.ReadRun(dir)
	if err != nil {
		return fmt.Errorf("resume run: %w", err)
	}
	if !slices.Equal(old.Scenarios, r.matrix.Run.Scenarios) {
		return fmt.Errorf("resume run: it is a run of %s, not of %s", strings.Join(old.Scenarios, ", "), strings.Join(r.matrix.Run.Scenarios, ", "))
	}
	r.dir, r.matrix.Run.ID, r.matrix.Run.Started, r.matrix.Run.Named = dir, old.ID, old.Started, old.Named
	return nil
}

// finished says whether a folder holds the whole journal of this very scenario: the
// same text, the same phases, run to its end without a failed step. With builds of the
// user's own, then or now, it never does: what they were is not what they are.
func finished(j *journal.Journal, c plan.Config, own artifact.Own) bool {
	if ownBuilds(j.Header.Versions) || concerns(own, c.Scenario) {
		return false
	}
	want, err := plan.Header(c)
	if err != nil || !j.Ended || j.Disorder != nil || j.Failure() != nil || j.Unsupported() != nil {
		return false
	}
	return j.Reason == journal.ReasonDone && j.Header.ScenarioDigest == want.ScenarioDigest && reflect.DeepEqual(j.Header.Phases, want.Phases)
}

// scenario runs one scenario, or takes the finished journal of a resumed run.
func (r *execution) scenario(ctx context.Context, sc *scenario.Scenario) report.Suite {
	dir := filepath.Join(r.dir, sc.Metadata.Name)
	if j, err := journal.ReadFile(filepath.Join(dir, journal.FileName)); err == nil && finished(j, r.config(sc, dir), r.From.Own) {
		r.note("%s: finished in the run that is resumed", sc.Metadata.Name)
		return r.suite(sc, dir, nil)
	}
	if err := freshFolder(dir); err != nil {
		return r.suite(sc, dir, err)
	}
	suite := r.suite(sc, dir, r.work(ctx, sc, dir))
	if err := dropCaptures(suite, dir, r.Keep); err != nil {
		r.note("%s: %v", sc.Metadata.Name, err)
	}
	return suite
}

// attemptMark stands between a scenario's name and the number of an attempt that was
// set aside.
const attemptMark = ".attempt-"

// freshFolder makes a scenario's folder; an earlier attempt in it is set aside, never
// overwritten.
func freshFolder(dir string) error {
	for n := 1; ; n++ {
		err := os.Rename(dir, fmt.Sprintf("%s%s%d", dir, attemptMark, n))
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("set earlier attempt aside: %w", err)
		}
	}
	return os.MkdirAll(dir, 0o755)
}

// work prepares and runs one worker, and cleans up after it whatever happened.
func (r *execution) work(ctx context.Context, sc *scenario.Scenario, dir string) error {
	c, err := r.configure(ctx, sc, dir)
	if r.wantsGuest(sc, err) {
		return r.guest(ctx, sc, dir, c, err)
	}
	if err != nil {
		return errors.Join(err, notStarted(c, err))
	}
	// A resumed run has the names of the one that was cut off, and may find its cluster.
	if err := r.clean(ctx, c); err != nil {
		return err
	}
	limit := pace.Stretch(scenarioLimit+2*sc.MoreWithin(), r.matrix.Run.Machine.Slowdown)
	workCtx, cancelWork := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the scenario took longer than %s", limit))
	defer cancelWork()
	kept := false
	err = work(workCtx, r.Worker, r.WorkerEnv, c, func(e plan.Event) {
		kept = kept || e.Type == plan.Kept
		if e.Type == plan.Timed {
			r.matrix.Run.Timings = append(r.matrix.Run.Timings, report.Timing{
				Name: e.Step, Of: sc.Metadata.Name, After: e.After,
				Began: time.Duration(e.Began) * time.Millisecond, Elapsed: time.Duration(e.Elapsed) * time.Millisecond,
			})
			return
		}
		if r.Progress != nil {
			r.Progress(e)
		}
	})
	if kept && err == nil {
		return nil // the worker ended by itself, and left the cluster on purpose
	}
	return errors.Join(err, r.clean(ctx, c))
}

// clean removes what a dead worker of this run and scenario left. The context may
// have ended, the cleaning must not.
func (r *execution) clean(ctx context.Context, c plan.Config) error {
	path := ledger.Path(c.LedgerDir, plan.LedgerName(c))
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	r.note("%s: removing what was left", c.Scenario.Metadata.Name)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
	defer cancel()
	_, err := ledger.CleanOne(ctx, path, kind.Remover(), nil)
	return err
}

// scenarioLimit bounds a worker against a hang: a run takes two minutes, and every wait
// within it has a limit of its own.
const scenarioLimit = 30 * time.Minute

// cleanLimit bounds the removal of a cluster.
const cleanLimit = 2 * time.Minute

// config is what a worker is told that takes no work to find out.
func (r *execution) config(sc *scenario.Scenario, dir string) plan.Config {
	return plan.Config{Scenario: sc, RunID: r.matrix.Run.ID, Dir: dir, Keep: r.Keep, Mutations: r.Mutations.Of(sc), Charts: map[string]string{}, Machine: guestOnly(r.matrix.Run.Machine)}
}

// configure sees to everything a worker needs.
func (r *execution) configure(ctx context.Context, sc *scenario.Scenario, dir string) (plan.Config, error) {
	c := r.config(sc, dir)
	var err error
	if c.LedgerDir, err = ledger.Dir(); err != nil {
		return c, err
	}
	chosen, err := choose(ctx, r.Provider, sc, findDaemon())
	if err != nil {
		return c, err
	}
	c.Provider = chosen.provider
	r.note("%s: provider %s, for %s", sc.Metadata.Name, chosen.provider, chosen.why)
	if c.Provider == scenario.ProviderKind {
		c.DockerHost = chosen.daemon.Host
		err = preflightCheck(ctx, chosen.daemon, sc)
	} else if err = r.ownElsewhere(sc, false); err == nil {
		err = netnsCheck(ctx, sc)
	}
	if err != nil {
		return c, err
	}
	started := time.Now()
	if err := r.openStore(ctx); err != nil {
		return c, err
	}
	set := SetOf(sc, c.Provider)
	c.Versions = map[string]string{
		"lbmatrix": r.Version, "kubernetes": set.Kubernetes, "kernel": r.matrix.Run.Machine.Kernel, propertySource: string(r.From.Source),
	}
	for _, comp := range sc.Spec.Components {
		c.Versions[comp.Name] = comp.Version
		if own := r.From.Own.Charts[comp.Name]; own != "" {
			c.Versions[ownMark+"chart "+comp.Name] = own
		}
		if c.Charts[comp.Name], err = r.store.Chart(ctx, comp.Name, comp.Version); err != nil {
			return c, err
		}
	}
	if c.Provider == scenario.ProviderKind {
		err = r.images(ctx, chosen.daemon, set, &c)
	} else {
		err = r.programs(ctx, set, &c)
	}
	if err != nil {
		return c, err
	}
	r.timing("artifacts for "+sc.Metadata.Name, started)
	return c, nil
}

// timing keeps how long something took that is no step of a scenario.
func (r *execution) timing(name string, began time.Time) {
	r.matrix.Run.Timings = append(r.matrix.Run.Timings, report.Timing{Name: name, Elapsed: time.Since(began)})
}

// images makes what the nodes of a kind cluster are.
func (r *execution) images(ctx context.Context, d *docker.Client, set artifact.Set, c *plan.Config) error {
	images, err := r.store.NodeImages(ctx, d, set)
	if err != nil {
		return err
	}
	for name, from := range images.Own {
		c.Versions[ownMark+"image "+name] = from
	}
	c.ControlPlaneImage, c.WorkerImage = images.ControlPlane, images.Worker
	c.ClientImage, c.BackendImage = images.Probe, images.ProbeInCluster
	c.ProbeBinary, err = r.store.ProbeBinary(ctx)
	return err
}

// programs makes what a cluster of namespaces runs. The backend's image there is a
// program's name.
func (r *execution) programs(ctx context.Context, set artifact.Set, c *plan.Config) (err error) {
	c.Programs, err = r.store.Programs(ctx, set)
	c.BackendImage = "lbprobe"
	return err
}

// suite judges what a scenario left. Without a journal the reason is all there is.
func (r *execution) suite(sc *scenario.Scenario, dir string, cause error) report.Suite {
	s, err := Suite(dir)
	if err != nil {
		s = report.Suite{Scenario: sc.Metadata.Name, Where: journal.WhereHost}
		if cause == nil {
			cause = err
		}
	}
	s.Title, s.Run = sc.Metadata.Title, r.matrix.Run.ID
	if cause != nil && !s.Unsupported {
		s.NotRun = cause.Error()
	}
	return s
}

func (r *execution) add(s report.Suite) { r.matrix.Suites = append(r.matrix.Suites, s) }

func (r *execution) write(ctx context.Context) error {
	r.matrix.Run.Ended, r.matrix.Run.Interrupted = time.Now().UTC(), ctx.Err() != nil
	r.matrix.Run.Exit = report.ExitCode(r.matrix, r.matrix.Run.Named)
	return errors.Join(report.WriteRun(r.dir, r.matrix.Run), report.Write(r.dir, r.matrix))
}

func (r *execution) end(ctx context.Context) error { return r.write(ctx) }

func (r *execution) note(format string, args ...any) {
	if r.Note != nil {
		r.Note(fmt.Sprintf(format, args...))
	}
}

func mapsKeys(m map[string]string) iter.Seq[string] { return maps.Keys(m) }
