// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/preflight"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// stepPrepare is the step before a worker starts: finding the daemon, making the artifacts.
const stepPrepare = "prepare"

// notStarted writes the journal of a scenario whose worker was never started, so that
// the folder tells later what the run told: unsupported where this machine lacks
// something that it could have, broken where the harness failed.
func notStarted(c plan.Config, cause error) error {
	header, err := plan.Header(c)
	if err != nil {
		return err
	}
	j, err := journal.Create(filepath.Join(c.Dir, journal.FileName), header)
	if err != nil {
		return err
	}
	if u := unsupported(cause); u != nil {
		return errors.Join(j.Write(journal.KindUnsupported, *u), j.Close(journal.ReasonDone, nil))
	}
	err = j.Write(journal.KindStepEnd, journal.Step{Name: stepPrepare, Error: cause.Error()})
	return errors.Join(err, j.Close(journal.ReasonFailed, cause))
}

// unsupportedError is a scenario that this machine cannot run.
type unsupportedError struct{ journal.Unsupported }

func (e *unsupportedError) Error() string { return strings.Join(e.Missing, "; ") + ". " + e.Fix }

// unsupported says what this machine lacks and how to get it, or nil where nothing is
// lacking and the harness itself failed.
func unsupported(cause error) *journal.Unsupported {
	lacks := func(fix string) *journal.Unsupported {
		return &journal.Unsupported{Missing: []string{cause.Error()}, Fix: fix}
	}
	var known *unsupportedError
	switch {
	case errors.As(cause, &known):
		return &known.Unsupported
	case errors.Is(cause, docker.ErrNoDaemon):
		return lacks("Start a Docker daemon: `make docker` does on Debian, in a namespace of its own")
	}
	return nil
}

// preflightCheck asks the daemon's machine before anything is built: its kernel, its
// inotify limit, its disk. A machine elsewhere cannot be asked from here: its nodes will tell.
func preflightCheck(ctx context.Context, d *docker.Client, sc *scenario.Scenario) error {
	info, err := d.Info(ctx)
	if err != nil {
		return err
	}
	kernel, err := preflight.Running()
	if err != nil {
		return err
	}
	if info.KernelVersion != kernel.Release {
		return nil
	}
	if u := preflight.Check(ctx, kernel, sc); u != nil {
		return &kernelError{unsupportedError{*u}}
	}
	if u := preflight.CheckKindSize(sc); u != nil {
		return &unsupportedError{*u}
	}
	nodes := 1 + sc.Spec.Cluster.Workers
	for _, check := range []func() *journal.Unsupported{
		func() *journal.Unsupported { return preflight.ThisInotify().Check(nodes, preflight.InotifyPerNode) },
		func() *journal.Unsupported { return preflight.CheckRoom(info.DockerRootDir, "Docker's disk") },
	} {
		if u := check(); u != nil {
			return &unsupportedError{*u}
		}
	}
	return nil
}
