// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ledger_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/ledger"
)

// childEnv makes this test binary a worker that fills a ledger and waits to be killed.
const childEnv = "LBMATRIX_TEST_LEDGER_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(m.Run())
}

func child(dir string) int {
	l, err := ledger.Open(dir, "run-a")
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	for _, e := range sample() {
		if err := l.Add(e); err != nil {
			fmt.Println("error", err)
			return 1
		}
	}
	// A grandchild that outlives the worker: it must not keep the lock.
	sleeper := exec.Command("sleep", "60")
	if err := sleeper.Start(); err != nil {
		fmt.Println("error", err)
		return 1
	}
	e, err := ledger.ProcessEntry("sleeper", sleeper.Process.Pid)
	if err == nil {
		err = l.Add(e)
	}
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println("ready", sleeper.Process.Pid)
	select {}
}

const host = "unix:///run/x/docker.sock"

func sample() []ledger.Entry {
	return []ledger.Entry{
		{Kind: ledger.Network, Name: "net", Host: host},
		{Kind: ledger.Container, Name: "net-control-plane", Host: host},
		{Kind: ledger.Container, Name: "net-worker", Host: host},
	}
}

// fakeDocker holds things by "kind/name". A network cannot go before containers.
type fakeDocker struct {
	mu    sync.Mutex
	have  map[string]bool
	order []string
	down  bool
	asked int
	late  string // appears at the second look
}

func (f *fakeDocker) RemoveDocker(_ context.Context, e ledger.Entry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.down {
		return ledger.ErrDaemonDown
	}
	key := string(e.Kind) + "/" + e.Name
	if !f.have[key] {
		if f.late == key {
			f.have[key] = true
		}
		return ledger.ErrGone
	}
	if e.Kind == ledger.Network {
		for k := range f.have {
			if strings.HasPrefix(k, "container/") {
				return errors.New("network has active endpoints")
			}
		}
	}
	delete(f.have, key)
	f.order = append(f.order, e.Name)
	return nil
}

func everything() *fakeDocker {
	f := &fakeDocker{have: map[string]bool{}}
	for _, e := range sample() {
		f.have[string(e.Kind)+"/"+e.Name] = true
	}
	return f
}

func fill(t *testing.T, dir, name string, entries ...ledger.Entry) string {
	t.Helper()
	l, err := ledger.Open(dir, name)
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, l.Add(e))
	}
	require.NoError(t, l.Close(false))
	return l.Path()
}

func TestCloseRemovesAnEmptyLedger(t *testing.T) {
	l, err := ledger.Open(t.TempDir(), "x")
	require.NoError(t, err)
	for _, e := range sample() {
		require.NoError(t, l.Add(e))
	}
	require.Equal(t, sample(), l.Entries())
	for _, e := range sample() {
		require.NoError(t, l.Done(e))
	}
	require.NoError(t, l.Close(false))
	require.NoFileExists(t, l.Path())
	require.ErrorIs(t, l.Add(sample()[0]), os.ErrClosed)
}

func TestCleanNewestFirst(t *testing.T) {
	dir := t.TempDir()
	path := fill(t, dir, "x", sample()...)
	f := everything()
	r, err := ledger.Clean(t.Context(), dir, f, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"net-worker", "net-control-plane", "net"}, f.order)
	require.Len(t, r.Removed, 3)
	require.NoFileExists(t, path)
}

func TestCleanAfterKillNine(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	var sleeper int
	_, err = fmt.Sscanf(line, "ready %d", &sleeper)
	require.NoError(t, err, line)

	f := everything()
	var live []ledger.Event
	r, err := ledger.Clean(t.Context(), dir, f, func(e ledger.Event) { live = append(live, e) })
	require.NoError(t, err)
	require.Len(t, r.Live, 1, "a live run is left alone")
	require.Equal(t, cmd.Process.Pid, live[0].PID)
	require.Zero(t, f.asked)

	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.FileExists(t, fmt.Sprintf("/proc/%d/stat", sleeper), "the grandchild outlived it")

	r, err = ledger.CleanOne(t.Context(), filepath.Join(dir, "run-a.jsonl"), f, nil)
	require.NoError(t, err)
	require.Empty(t, f.have)
	require.Len(t, r.Removed, 4)
	require.Equal(t, ledger.Process, r.Removed[0].Kind)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestTornLastLine(t *testing.T) {
	dir := t.TempDir()
	path := fill(t, dir, "x", sample()...)
	fh, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = fh.WriteString(`{"op":"add","entry":{"kind":"contai`)
	require.NoError(t, err)
	require.NoError(t, fh.Close())

	// Taken over by a new worker, the line is closed and the next one readable.
	l, err := ledger.Open(dir, "x")
	require.NoError(t, err)
	require.Equal(t, sample(), l.Entries())
	extra := ledger.Entry{Kind: ledger.Container, Name: "late", Host: host}
	require.NoError(t, l.Add(extra))
	require.NoError(t, l.Close(false))

	f := everything()
	f.have["container/late"] = true
	_, err = ledger.Clean(t.Context(), dir, f, nil)
	require.NoError(t, err)
	require.Empty(t, f.have)
}

func TestTwoCleanersAtOnce(t *testing.T) {
	dir := t.TempDir()
	for i := range 8 {
		fill(t, dir, fmt.Sprintf("r%d", i), ledger.Entry{Kind: ledger.Volume, Name: fmt.Sprintf("v%d", i), Host: host})
	}
	f := &fakeDocker{have: map[string]bool{}}
	for i := range 8 {
		f.have[fmt.Sprintf("volume/v%d", i)] = true
	}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { _, errs[i] = ledger.Clean(t.Context(), dir, f, nil) })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Empty(t, f.have)
	require.Len(t, f.order, 8, "each thing was removed once")
}

func TestDeadDaemonKeepsEntries(t *testing.T) {
	dir := t.TempDir()
	path := fill(t, dir, "x", append(sample(), ledger.Entry{Kind: ledger.Directory, Name: filepath.Join(dir, "none", "such")})...)
	f := everything()
	f.down = true
	r, err := ledger.Clean(t.Context(), dir, f, nil)
	require.ErrorIs(t, err, ledger.ErrDaemonDown)
	require.Len(t, r.Kept, 3)
	require.Len(t, r.Removed, 1)
	require.Equal(t, 1, f.asked, "a daemon that does not answer is asked once")
	require.FileExists(t, path)

	f.down = false
	_, err = ledger.Clean(t.Context(), dir, f, nil)
	require.NoError(t, err)
	require.NoFileExists(t, path)
}

func TestContainerThatAppearsLate(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, "x", sample()...)
	f := everything()
	delete(f.have, "container/net-worker")
	f.late = "container/net-worker"
	_, err := ledger.Clean(t.Context(), dir, f, nil)
	require.NoError(t, err)
	require.Empty(t, f.have)
}

func TestReusedPIDIsSafe(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	e, err := ledger.ProcessEntry("other", cmd.Process.Pid)
	require.NoError(t, err)
	stale := e
	stale.StartTime--

	dir := t.TempDir()
	fill(t, dir, "x", stale)
	_, err = ledger.Clean(t.Context(), dir, everything(), nil)
	require.NoError(t, err)
	now, err := ledger.StartTime(cmd.Process.Pid)
	require.NoError(t, err, "the process that got the pid is untouched")
	require.Equal(t, e.StartTime, now)
}

func TestRefusesStrangePaths(t *testing.T) {
	home, err := os.UserHomeDir()
	require.NoError(t, err)
	for _, p := range []string{"/", "/tmp", "relative/path", home, ""} {
		dir := t.TempDir()
		fill(t, dir, "x", ledger.Entry{Kind: ledger.Directory, Name: p})
		_, err := ledger.Clean(t.Context(), dir, everything(), nil)
		require.ErrorContains(t, err, "refused", p)
	}
}

func TestSecondOwnerIsRefused(t *testing.T) {
	dir := t.TempDir()
	l, err := ledger.Open(dir, "x")
	require.NoError(t, err)
	_, err = ledger.Open(dir, "x")
	require.ErrorIs(t, err, ledger.ErrLocked)
	require.NoError(t, l.Close(true))
	require.FileExists(t, l.Path())
	require.NoError(t, func() error { _, err := ledger.Clean(t.Context(), dir, everything(), nil); return err }())
}

func TestDockerCLIReadsAnswers(t *testing.T) {
	e := ledger.Entry{Kind: ledger.Container, Name: "c", Host: "unix:///nonexistent-dir-x/docker.sock"}
	say := func(text string, code int) ledger.DockerCLI {
		return ledger.DockerCLI{Command: func(ctx context.Context, _ string, _ ...string) *exec.Cmd {
			return exec.CommandContext(ctx, "sh", "-c", fmt.Sprintf("echo %q >&2; exit %d", text, code))
		}}
	}
	require.NoError(t, say("c", 0).RemoveDocker(t.Context(), e))
	require.ErrorIs(t, say("Error: No such container: c", 1).RemoveDocker(t.Context(), e), ledger.ErrGone)
	require.ErrorContains(t, say("Error response from daemon: busy", 1).RemoveDocker(t.Context(), e), "busy")
	down := "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"
	require.ErrorIs(t, say(down, 1).RemoveDocker(t.Context(), e), ledger.ErrDaemonDown,
		"after a reboot the socket's directory is gone and the containers are not")
	for gone, want := range map[bool]error{true: ledger.ErrGone, false: ledger.ErrDaemonDown} {
		d := say(down, 1)
		d.DataGone = func(host string) bool { return host == e.Host && gone }
		require.ErrorIs(t, d.RemoveDocker(t.Context(), e), want)
	}
	// Inspecting a daemon for another kind is a mistake of ours.
	e.Kind = ledger.File
	require.Error(t, say("", 0).RemoveDocker(t.Context(), e))
}
