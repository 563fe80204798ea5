// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/guest/job"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/preflight"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

// storeWithGuest is the user's store, if it holds what a guest needs: making that takes
// minutes and the network, so a test does not.
func storeWithGuest(t *testing.T) *artifact.Store {
	t.Helper()
	store, err := artifact.Open(artifact.Options{})
	require.NoError(t, err)
	if !store.HasGuest(artifact.DefaultGuestKernel) {
		t.Skip("no guest in the store; `lbmatrix vm run -- version` makes one")
	}
	return store
}

// machineOf puts a qemu that is a script into a world of its own.
func machineOf(t *testing.T, script string) (results, scratch, state string) {
	t.Helper()
	bin := t.TempDir()
	results, scratch, state = t.TempDir(), t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "qemu-system-x86_64"), []byte("#!/bin/sh\n"+script), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv(ledger.StateEnv, state)
	t.Setenv("TMPDIR", scratch)
	return results, scratch, state
}

// nothingLeft holds a guest to leaving no disk and no ledger.
func nothingLeft(t *testing.T, scratch, state string) {
	t.Helper()
	for _, dir := range []string{scratch, filepath.Join(state, "ledger")} {
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left, dir)
	}
}

// A guest that does not end is killed at its limit and is the harness' failure: there is no
// verdict. Its log stays, and nothing else.
func TestVMRunOfAGuestThatHangs(t *testing.T) {
	storeWithGuest(t)
	// A negative limit takes the grace back that comes on top of it.
	results, scratch, state := machineOf(t, `
echo '{"type":"ready","slowdown":1,"limitNS":-9900000000}'
exec sleep 60
`)
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"vm", "run", "--results", results, "--", "version"}, nil, &out, &errs)
	require.Equal(t, report.ExitBroken, code, errs.String())
	require.Contains(t, errs.String(), "the guest did not end (it is 1 times slower than this machine): killed after")
	nothingLeft(t, scratch, state)
	left, err := filepath.Glob(filepath.Join(results, "*-guest-*", "guest"))
	require.NoError(t, err)
	require.Len(t, left, 1)
}

// A scenario that only this machine's kernel is in the way of goes to a guest by itself. What
// that brings back lies in the scenario's folder, is judged here, and says where it ran.
func TestRunTakesAScenarioToAGuest(t *testing.T) {
	const name = "kube-proxy-ipvs-strictarp-metallb-l2"
	sc, err := scenarios.Get(name, runner.LoadOptions())
	require.NoError(t, err)
	store := storeWithGuest(t)
	set := artifact.Set{Kubernetes: sc.Spec.Cluster.Kubernetes, Components: map[string]string{"metallb": sc.Spec.Components[0].Version}}
	if has, err := store.HasPrograms(t.Context(), set); err != nil || !has {
		t.Skip("the programs of the scenario are not in the store; `lbmatrix images build` makes them")
	}
	kernel, err := preflight.Running()
	require.NoError(t, err)
	if preflight.Lacks(kernel, sc) == nil {
		t.Skipf("kernel %s has what %s needs", kernel.Release, name)
	}
	// What a guest's run left.
	back := t.TempDir()
	folder := filepath.Join(back, "20260101T000000Z-x", name)
	require.NoError(t, os.MkdirAll(folder, 0o755))
	require.NoError(t, report.WriteRun(filepath.Dir(folder), report.Run{ID: "x"}))
	header, err := plan.Header(plan.Config{Scenario: sc, Dir: folder, Machine: &journal.Machine{Kernel: "6.1.0-guest", Accelerator: "tcg", Slowdown: 30}})
	require.NoError(t, err)
	w, err := journal.Create(filepath.Join(folder, journal.FileName), header)
	require.NoError(t, err)
	require.NoError(t, w.Close(journal.ReasonDone, nil))
	archive, err := os.Create(filepath.Join(t.TempDir(), "archive"))
	require.NoError(t, err)
	require.NoError(t, job.Pack(archive, back, job.Report{Code: report.ExitBroken}))
	require.NoError(t, archive.Close())

	results, scratch, state := machineOf(t, fmt.Sprintf(`
test -f "$TMPDIR/results.img" || exit 1 # the trial of KVM
echo '{"type":"ready","slowdown":30,"limitNS":60000000000}'
dd if=%s of="$TMPDIR/results.img" conv=notrunc 2>/dev/null
echo '{"type":"packed"}'
`, archive.Name()))
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"run", name, "--results", results}, nil, &out, &errs)
	require.Equal(t, report.ExitBroken, code, "the journal holds no facts: "+out.String()+errs.String())
	require.Contains(t, errs.String(), "it will run in a guest")
	require.Contains(t, out.String(), name+"@guest")
	nothingLeft(t, scratch, state)

	m, err := runner.Load(filepath.Join(results, runner.Latest))
	require.NoError(t, err)
	require.Len(t, m.Suites, 1)
	require.Equal(t, journal.WhereGuest, m.Suites[0].Where)
	require.Equal(t, "6.1.0-guest", m.Suites[0].Machine.Kernel)
	require.FileExists(t, filepath.Join(results, runner.Latest, name, runner.GuestDir, report.RunFile))
	for _, c := range m.Suites[0].Cells {
		if c.Check == "connect-latency" {
			require.Equal(t, "emulated", c.Verdict.Code)
		}
	}
}
