// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func open(t *testing.T, dir string, progress func(Event)) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir, Progress: progress})
	require.NoError(t, err)
	return s
}

func TestKeyDependsOnEveryInput(t *testing.T) {
	base := recipe{name: "a", version: "v1", inputs: []string{"x", "yz"}}
	require.Equal(t, base.key(), recipe{name: "a", version: "v1", inputs: []string{"x", "yz"}}.key())
	for _, other := range []recipe{
		{name: "b", version: "v1", inputs: base.inputs},
		{name: "a", version: "v2", inputs: base.inputs},
		{name: "a", version: "v1", inputs: []string{"xy", "z"}},
		{name: "a", version: "v1", inputs: []string{"x", "yz", ""}},
	} {
		require.NotEqual(t, base.key(), other.key())
	}
}

func TestBuiltOnceBetweenGoroutines(t *testing.T) {
	var mu sync.Mutex
	states := map[State]int{}
	s := open(t, t.TempDir(), func(e Event) { mu.Lock(); defer mu.Unlock(); states[e.State]++ })
	var builds atomic.Int32
	r := recipe{name: "fake", version: "v1", build: func(_ context.Context, dir string, _ func(string)) error {
		builds.Add(1)
		time.Sleep(300 * time.Millisecond)
		return os.WriteFile(filepath.Join(dir, "out"), []byte("12345"), 0o644)
	}}
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			dir, err := s.ensure(t.Context(), r)
			if err != nil {
				t.Error(err)
				return
			}
			if data, err := os.ReadFile(filepath.Join(dir, "out")); err != nil || string(data) != "12345" {
				t.Errorf("read: %q, %v", data, err)
			}
		})
	}
	wait.Wait()
	require.EqualValues(t, 1, builds.Load())
	require.Equal(t, map[State]int{Building: 1, Done: 1, Waiting: 2, Cached: 2}, states)

	list, err := s.List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.EqualValues(t, 5, list[0].Bytes)
	require.Equal(t, r.key(), list[0].Key)

	gone, err := s.Prune(t.Context(), time.Now().Add(-time.Hour))
	require.NoError(t, err)
	require.Empty(t, gone, "it was just used")
	gone, err = s.Prune(t.Context(), time.Time{})
	require.NoError(t, err)
	require.Len(t, gone, 1)
}

// What was finished before Ctrl-C is not made again, what was not leaves nothing.
func TestResumeAfterCancel(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	builds := 0
	first := recipe{name: "first", version: "v1", build: func(context.Context, string, func(string)) error { builds++; return nil }}
	_, err := s.ensure(t.Context(), first)
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	second := recipe{name: "second", version: "v1", build: func(_ context.Context, dir string, _ func(string)) error {
		cancel()
		return os.WriteFile(filepath.Join(dir, "half"), nil, 0o644) // ignores its context
	}}
	_, err = s.ensure(ctx, second)
	require.ErrorIs(t, err, context.Canceled)
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	require.NoError(t, err)
	require.Empty(t, left)

	second.build = func(context.Context, string, func(string)) error { builds++; return nil }
	s = open(t, dir, nil)
	for _, r := range []recipe{first, second} {
		_, err := s.ensure(t.Context(), r)
		require.NoError(t, err)
	}
	require.Equal(t, 2, builds)
}

func TestFailureIsReportedAndNotKept(t *testing.T) {
	var last Event
	s := open(t, t.TempDir(), func(e Event) { last = e })
	broken := errors.New("no compiler")
	_, err := s.ensure(t.Context(), recipe{name: "x", version: "v1", build: func(context.Context, string, func(string)) error { return broken }})
	require.ErrorIs(t, err, broken)
	require.Equal(t, Failed, last.State)
	require.Contains(t, last.Detail, "no compiler")
	list, err := s.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
}

// A process killed in the middle of a build blocks nobody, and what it left is
// replaced.
func TestKilledBuilder(t *testing.T) {
	const env = "LBMATRIX_TEST_KILLED_BUILDER"
	r := recipe{name: "slow", version: "v1"}
	if dir := os.Getenv(env); dir != "" {
		s, err := Open(Options{Dir: dir})
		require.NoError(t, err)
		r.build = func(_ context.Context, dir string, _ func(string)) error {
			_ = os.WriteFile(filepath.Join(dir, "half"), nil, 0o644)
			os.Stdout.WriteString("building\n")
			time.Sleep(time.Minute)
			return nil
		}
		_, _ = s.ensure(context.Background(), r)
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledBuilder$")
	cmd.Env = append(os.Environ(), env+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	s := open(t, dir, func(e Event) {
		if e.State == Waiting {
			_ = cmd.Process.Kill()
		}
	})
	r.build = func(_ context.Context, dir string, _ func(string)) error {
		_, err := os.Stat(filepath.Join(dir, "half"))
		require.ErrorIs(t, err, os.ErrNotExist)
		return nil
	}
	_, err = s.ensure(t.Context(), r)
	require.NoError(t, err)
	_ = cmd.Wait()
}
