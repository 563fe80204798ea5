// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"errors"
	"path/filepath"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/plan"
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
	if fix := remedy(cause); fix != "" {
		err = j.Write(journal.KindUnsupported, journal.Unsupported{Missing: []string{cause.Error()}, Fix: fix})
		return errors.Join(err, j.Close(journal.ReasonDone, nil))
	}
	err = j.Write(journal.KindStepEnd, journal.Step{Name: stepPrepare, Error: cause.Error()})
	return errors.Join(err, j.Close(journal.ReasonFailed, cause))
}

// remedy says how to get what this machine lacks, or "" where nothing is lacking and
// the harness itself failed.
func remedy(cause error) string {
	switch {
	case errors.Is(cause, docker.ErrNoDaemon):
		return "Start a Docker daemon: `make docker` does on Debian, in a namespace of its own"
	case errors.Is(cause, artifact.ErrNoRegistry):
		return "Run with --source go-module"
	}
	return ""
}
