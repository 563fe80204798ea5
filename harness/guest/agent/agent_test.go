// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/guest/job"
)

// carry makes a guest's third disk whose lbmatrix is a shell script.
func carry(t *testing.T, script string, j job.Job) Places {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), mode))
		return name
	}
	write("carried/bin/lbmatrix", "#!/bin/sh\n"+script, 0o755)
	write("carried/work/my-scenario.yaml", "kind: Scenario\n", 0o644)
	require.NoError(t, j.Write(filepath.Join(dir, "carried")))
	return Places{
		Carried: filepath.Join(dir, "carried"), Work: filepath.Join(dir, "work"),
		Uptime: write("uptime", "4.52 8.01\n", 0o644), Release: write("osrelease", "6.1.0-test\n", 0o644),
	}
}

func run(t *testing.T, p Places) (job.Report, []job.Event, string) {
	t.Helper()
	var events, archive bytes.Buffer
	p.Events, p.Results = &events, &archive
	require.NoError(t, Run(t.Context(), p))
	var all []job.Event
	require.NoError(t, job.ReadEvents(&events, func(e job.Event) { all = append(all, e) }, func(l []byte) { t.Errorf("no event: %s", l) }))
	dir := t.TempDir()
	r, err := job.Unpack(&archive, dir)
	require.NoError(t, err)
	return r, all, dir
}

func TestRunBringsBackResultsAndCode(t *testing.T) {
	p := carry(t, `
mkdir -p results/run-1
cp my-scenario.yaml results/run-1/
printf '%s\n' "$LBMATRIX_GUEST" "$LBMATRIX_CACHE" >results/run-1/env
echo "$*"
echo progress >&2
exit 4
`, job.Job{Args: []string{"run", "x"}, Accelerator: job.AcceleratorTCG, HostPace: time.Nanosecond, Allowance: time.Microsecond})
	r, events, dir := run(t, p)
	require.Equal(t, 4, r.Code)
	require.False(t, r.Killed)
	require.Equal(t, "6.1.0-test", r.Kernel)
	require.Equal(t, 4520*time.Millisecond, r.UpToWork)
	require.Greater(t, r.Slowdown, 1000.0, "measured against a host that took a nanosecond")
	require.InEpsilon(t, r.Slowdown*float64(time.Microsecond), float64(r.Limit), 0.01)

	require.Equal(t, job.Ready, events[0].Type)
	require.Equal(t, r.Slowdown, events[0].Slowdown)
	require.Equal(t, job.Event{Type: job.Exit, Code: 4}, events[len(events)-1])
	said := map[string]string{}
	for _, e := range events {
		said[e.Stream] += string(e.Data)
	}
	require.Equal(t, "run x\n", said["stdout"])
	require.Equal(t, "progress\n", said["stderr"])

	env, err := os.ReadFile(filepath.Join(dir, "run-1", "env"))
	require.NoError(t, err)
	require.Contains(t, string(env), `{"accelerator":"tcg","slowdown":`)
	require.Contains(t, string(env), "/carried/cache")
	require.FileExists(t, filepath.Join(dir, "run-1", "my-scenario.yaml"))
}

// A command that does not end is asked to, then killed, and what it has is kept.
func TestRunEndsAtItsLimit(t *testing.T) {
	p := carry(t, `
mkdir -p results/run-1
trap 'echo interrupted >results/run-1/said; exit 0' TERM
while :; do sleep 0.05; done
`, job.Job{Accelerator: job.AcceleratorTCG, HostPace: time.Hour, Limit: 500 * time.Millisecond})
	r, events, dir := run(t, p)
	require.True(t, r.Killed)
	require.Equal(t, 3, r.Code)
	require.Equal(t, 1.0, r.Slowdown, "faster than the host is not slower")
	require.True(t, events[len(events)-1].Killed)
	said, err := os.ReadFile(filepath.Join(dir, "run-1", "said"))
	require.NoError(t, err)
	require.Equal(t, "interrupted", strings.TrimSpace(string(said)))
}

func TestRunWithoutAJob(t *testing.T) {
	require.ErrorContains(t, Run(t.Context(), Places{Carried: t.TempDir(), Events: &bytes.Buffer{}}), "read job")
}
