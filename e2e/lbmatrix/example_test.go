// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package lbmatrix

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// documented is the Go program in docs/go-test.md.
func documented(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/go-test.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(page), "```go\n")
	require.True(t, ok)
	program, _, ok := strings.Cut(rest, "```\n")
	require.True(t, ok)
	return program
}

// example makes a module of its own with the documented test in it, whose lbmatrix is this
// checkout, and builds its test binary. The go.mod is what `go get` makes: this module's
// requirements are all there are.
func example(t *testing.T) (dir, binary string) {
	t.Helper()
	dir = t.TempDir()
	checkout, err := filepath.Abs("../..")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "loadbalancer_test.go"), []byte(documented(t)), 0o644))
	mod, err := os.ReadFile(filepath.Join(checkout, "go.mod"))
	require.NoError(t, err)
	text := strings.Replace(string(mod), "module github.com/lbmatrix/lbmatrix", "module example.org/loadbalancer", 1) +
		"\nrequire github.com/lbmatrix/lbmatrix v0.0.0\n\nreplace github.com/lbmatrix/lbmatrix => " + checkout + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o644))
	sum, err := os.ReadFile(filepath.Join(checkout, "go.sum"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o644))
	binary = filepath.Join(dir, "lb.test")
	args := []string{"test", "-c", "-trimpath", "-mod=mod", "-vet=off", "-o", binary}
	set, err := exec.CommandContext(t.Context(), "go", "env", "GOFLAGS").Output() // from the environment, or what go env -w wrote
	require.NoError(t, err)
	flags := strings.TrimSpace(string(set))
	if raceDetector { // what this test was built from is there already: so compiled, with the detector
		args = append(args, "-race")
		flags = strings.TrimSpace(flags + " " + os.Getenv("LBMATRIX_TEST_GOFLAGS"))
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, ".")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS="+flags)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return dir, binary
}

// run runs the example's test binary where it was built.
func run(ctx context.Context, dir, binary string, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// The documented program is a test of another project: it compiles, and where no Docker
// daemon answers every check is skipped with the reason and the whole is no pass.
func TestDocumentedExample(t *testing.T) {
	if testing.Short() {
		t.Skip("links a test binary with all of lbmatrix")
	}
	dir, binary := example(t)
	env := []string{"DOCKER_HOST=unix:///no/such/docker.sock", "LBMATRIX_CACHE=" + filepath.Join(dir, "cache"), "LBMATRIX_STATE=" + filepath.Join(dir, "state"), "LBMATRIX_RESULTS="}
	out, err := run(t.Context(), dir, binary, env, "-test.run=^TestLoadBalancer$", "-test.v")
	require.Error(t, err)
	require.Contains(t, out, "--- SKIP: TestLoadBalancer/kube-proxy-iptables-metallb-l2/single-responder")
	require.Contains(t, out, "no docker daemon answers at DOCKER_HOST=unix:///no/such/docker.sock")
	require.Contains(t, out, "could run here")
	runs, err := filepath.Glob(filepath.Join(dir, "results", "*", "junit.xml"))
	require.NoError(t, err)
	require.NotEmpty(t, runs, "beside the test")

	out, err = run(t.Context(), dir, binary, env, "-test.short", "-test.v")
	require.NoError(t, err, out)
	require.Contains(t, out, "-timeout 60m -count=1")
	out, err = run(t.Context(), dir, binary, append(env, "SPEAKER_IMAGE=nosuch.tar"), "-test.run=^TestLoadBalancer$")
	require.Error(t, err)
	require.Contains(t, out, "nosuch.tar: no such file")
	left, err := filepath.Glob(filepath.Join(dir, "state", "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestDocumentedExampleReal runs it on a real cluster, with a build of the speaker that
// LBMATRIX_TEST_SPEAKER names.
func TestDocumentedExampleReal(t *testing.T) {
	speaker := os.Getenv("LBMATRIX_TEST_SPEAKER")
	if speaker == "" {
		t.Skip("set LBMATRIX_TEST_SPEAKER to a speaker's image or archive to run the documented example on a real cluster")
	}
	dir, binary := example(t)
	out, err := run(t.Context(), dir, binary, []string{"SPEAKER_IMAGE=" + speaker}, "-test.run=^TestLoadBalancer$", "-test.v")
	t.Log(out)
	require.NoError(t, err)
}

// Without Main the test binary would run itself in place of a worker.
func TestRunNeedsMain(t *testing.T) {
	const env = "LBMATRIX_TEST_WITHOUT_MAIN"
	if os.Getenv(env) != "" {
		Run(t, Options{Scenarios: []string{"nosuch"}})
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	out, err := run(t.Context(), t.TempDir(), self, []string{env + "=1"}, "-test.run=^TestRunNeedsMain$")
	require.Error(t, err)
	require.Contains(t, out, "func TestMain(m *testing.M) { lbmatrix.Main(m) }")
	out, err = run(t.Context(), t.TempDir(), self, []string{env + "=1", mainMark + "=1"}, "-test.run=^TestRunNeedsMain$")
	require.Error(t, err)
	require.Contains(t, out, "lbmatrix.Main(m)", "another process's mark is none")
}
