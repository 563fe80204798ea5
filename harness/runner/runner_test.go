// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// TestMain makes the test binary a fake worker: what it does is in the environment.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == plan.WorkerCommand {
		if os.Getenv(realWorker) != "" {
			os.Exit(plan.WorkerMain(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
		}
		os.Exit(fakeWorker(os.Args[2]))
	}
	os.Exit(m.Run())
}

func fakeWorker(path string) int {
	c, err := plan.ReadConfig(path)
	if err != nil {
		return 3
	}
	header, err := plan.Header(c)
	if err != nil {
		return 3
	}
	w, err := journal.Create(filepath.Join(c.Dir, journal.FileName), header)
	if err != nil {
		return 3
	}
	ev, _ := json.Marshal(plan.Event{Type: plan.StepBegin, Step: "create"})
	fmt.Println(string(ev))
	switch os.Getenv("FAKE_WORKER") {
	case "hang":
		time.Sleep(time.Minute)
	case "die":
		return 7
	}
	if err := w.Close("failed", errors.New("nothing was done")); err != nil {
		return 3
	}
	return 0
}

func config(t *testing.T) plan.Config {
	t.Helper()
	sc := &scenario.Scenario{Metadata: scenario.Metadata{Name: "s"}}
	sc.SetDefaults()
	return plan.Config{Scenario: sc, RunID: "r", Dir: t.TempDir()}
}

func argv(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	return []string{self, plan.WorkerCommand}
}

func TestWorkerThatDidNothingIsBroken(t *testing.T) {
	c := config(t)
	var events []plan.Event
	require.NoError(t, work(t.Context(), argv(t), nil, c, func(e plan.Event) { events = append(events, e) }))
	require.Len(t, events, 1)
	s, err := Suite(c.Dir)
	require.NoError(t, err)
	require.Len(t, s.Cells, len(judge.For(*c.Scenario)))
	for _, cell := range s.Cells {
		require.Equal(t, judge.ResultBroken, cell.Result)
	}
	require.Equal(t, report.ExitBroken, report.ExitCode(report.Matrix{Suites: []report.Suite{s}}, false))
}

func TestWorkerThatDiedIsToldOf(t *testing.T) {
	c := config(t)
	err := work(t.Context(), argv(t), []string{"FAKE_WORKER=die"}, c, nil)
	require.ErrorContains(t, err, "exit status 7")
	require.ErrorContains(t, err, "worker.log")
	s, err := Suite(c.Dir)
	require.NoError(t, err)
	require.Equal(t, "the run was cut off before its end", s.NotRun)
}

func TestWorkerIsStoppedWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	// The fake ignores nothing, so SIGTERM ends it; cancel once it lives.
	err := work(ctx, argv(t), []string{"FAKE_WORKER=hang"}, config(t), func(plan.Event) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
}

func TestFoldersAreNeverOverwritten(t *testing.T) {
	results := t.TempDir()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	first, id, err := newFolder(results, "matrix", at)
	require.NoError(t, err)
	require.Equal(t, "20260102T030405Z-matrix-"+id, filepath.Base(first))
	second, _, err := newFolder(results, "matrix", at)
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	latest, err := filepath.EvalSymlinks(filepath.Join(results, Latest))
	require.NoError(t, err)
	require.Equal(t, filepath.Base(second), filepath.Base(latest))

	dir := filepath.Join(first, "s")
	for range 3 {
		require.NoError(t, freshFolder(dir))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "x"), nil, 0o644))
	}
	for _, want := range []string{"s", "s.attempt-1", "s.attempt-2"} {
		require.FileExists(t, filepath.Join(first, want, "x"))
	}
}

func TestLoadJudgesAFolderAndLeavesAttemptsOut(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"s", "s.attempt-1"} {
		c := config(t)
		c.Dir = filepath.Join(dir, name)
		require.NoError(t, os.Mkdir(c.Dir, 0o755))
		require.NoError(t, work(t.Context(), argv(t), nil, c, nil))
	}
	m, err := Load(dir)
	require.NoError(t, err)
	require.Len(t, m.Suites, 1)
	m, err = Load(filepath.Join(dir, "s"))
	require.NoError(t, err)
	require.Len(t, m.Suites, 1)
	_, err = Load(t.TempDir())
	require.ErrorContains(t, err, "there is no journal in it")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "s", journal.FileName), []byte("x\n"), 0o644))
	m, err = Load(dir)
	require.NoError(t, err)
	require.NotEmpty(t, m.Suites[0].NotRun, "an unreadable journal is told of, not left out")
}

func TestOSName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "os-release")
	require.NoError(t, os.WriteFile(path, []byte("ID=x\nPRETTY_NAME=\"Some Linux 1\"\n"), 0o644))
	require.Equal(t, "Some Linux 1", osName(path))
	require.NotEmpty(t, osName(path+"nosuch"))
}
