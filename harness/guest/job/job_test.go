// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package job

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestJobIsReadAsWritten(t *testing.T) {
	dir := t.TempDir()
	want := Job{Args: []string{"run", "x"}, Accelerator: AcceleratorTCG, HostPace: time.Second, Allowance: time.Minute, Limit: time.Hour}
	require.NoError(t, want.Write(dir))
	got, err := Read(dir)
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = Read(t.TempDir())
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestHere(t *testing.T) {
	t.Setenv(HereEnv, "")
	_, ok, err := Here()
	require.NoError(t, err)
	require.False(t, ok)
	t.Setenv(HereEnv, `{"accelerator":"tcg","slowdown":12.5}`)
	p, ok, err := Here()
	require.NoError(t, err)
	require.True(t, ok)
	require.True(t, p.Emulated())
	require.Equal(t, 12.5, p.Slowdown)
	t.Setenv(HereEnv, `tcg`)
	_, _, err = Here()
	require.ErrorContains(t, err, HereEnv)
}

// Events come through a line that others write to as well, and that may end in the middle.
func TestReadEvents(t *testing.T) {
	var line bytes.Buffer
	w := NewWriter(&line)
	require.NoError(t, w.Send(Event{Type: Ready, Slowdown: 11}))
	line.WriteString("[    3.1] a kernel message\r\n{\"not\":\"an event\"}\r\n")
	_, err := w.Stream("stderr").Write([]byte("two\nlines \x1b[K\n"))
	require.NoError(t, err)
	require.NoError(t, w.Send(Event{Type: Exit, Code: 4}))
	line.WriteString(`{"type":"pac`)

	var got []Event
	var other []string
	require.NoError(t, ReadEvents(&line, func(e Event) { got = append(got, e) }, func(l []byte) { other = append(other, string(l)) }))
	require.Equal(t, []Event{
		{Type: Ready, Slowdown: 11}, {Type: Output, Stream: "stderr", Data: []byte("two\nlines \x1b[K\n")}, {Type: Exit, Code: 4},
	}, got)
	require.Equal(t, []string{"[    3.1] a kernel message", `{"not":"an event"}`, `{"type":"pac`}, other)
}

// What is packed is unpacked, wherever on a larger disk it lies, and an archive that was
// cut anywhere before its end never gives an exit code.
func TestArchive(t *testing.T) {
	results := t.TempDir()
	for name, text := range map[string]string{"run-1/run.json": "{}", "run-1/scenario/journal.jsonl": strings.Repeat("line\n", 1000), "run-1/empty": ""} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(results, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(results, name), []byte(text), 0o644))
	}
	require.NoError(t, os.Symlink("run-1", filepath.Join(results, "latest")))
	want := Report{Place: Place{Accelerator: AcceleratorTCG, Slowdown: 20}, Kernel: "6.1.0", Code: 1, Elapsed: time.Minute}
	var archive bytes.Buffer
	require.NoError(t, Pack(&archive, results, want))
	whole := archive.Bytes()

	dir := t.TempDir()
	got, err := Unpack(bytes.NewReader(append(bytes.Clone(whole), make([]byte, 64<<10)...)), dir)
	require.NoError(t, err)
	require.Equal(t, want, got)
	text, err := os.ReadFile(filepath.Join(dir, "run-1/scenario/journal.jsonl"))
	require.NoError(t, err)
	require.Len(t, text, 5000)
	require.NoFileExists(t, filepath.Join(dir, "latest"))

	// The exit code is in the last block before the two that end an archive (tar(5)).
	last := len(whole) - 3*512
	for cut := 0; cut <= last; cut += last / 20 {
		_, err := Unpack(bytes.NewReader(whole[:cut]), t.TempDir())
		require.ErrorIs(t, err, ErrNoExit, "cut at %d of %d", cut, len(whole))
	}
	_, err = Unpack(bytes.NewReader(make([]byte, 1<<20)), t.TempDir())
	require.ErrorIs(t, err, ErrNoExit, "a disk that was never written to")
}

func TestPackWithoutResults(t *testing.T) {
	var archive bytes.Buffer
	require.NoError(t, Pack(&archive, filepath.Join(t.TempDir(), "none"), Report{Code: 2}))
	got, err := Unpack(&archive, t.TempDir())
	require.NoError(t, err)
	require.Equal(t, 2, got.Code)
}

// Any text that a command writes comes through as it was.
func TestOutputIsCarriedAsItIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		var line, got bytes.Buffer
		_, err := NewWriter(&line).Stream("stdout").Write(want)
		require.NoError(t, err)
		require.NoError(t, ReadEvents(&line, func(e Event) { got.Write(e.Data) }, func(l []byte) { t.Fatalf("no event: %s", l) }))
		require.Equal(t, string(want), got.String())
	})
}

// No archive writes outside its folder, and none that has no end gives a result.
func FuzzUnpack(f *testing.F) {
	var archive bytes.Buffer
	if err := Pack(&archive, f.TempDir(), Report{Code: 3}); err != nil {
		f.Fatal(err)
	}
	f.Add(archive.Bytes())
	f.Add([]byte("results/../../outside"))
	f.Fuzz(func(t *testing.T, data []byte) {
		top := t.TempDir()
		dir := filepath.Join(top, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := Unpack(bytes.NewReader(data), dir); err == nil && !bytes.Contains(data, []byte(exitName)) {
			t.Fatal("a result without an exit code")
		}
		entries, err := os.ReadDir(top)
		if err != nil || len(entries) != 1 {
			t.Fatalf("%v beside the folder: %v", entries, err)
		}
	})
}

// A name that leads out is refused, not followed.
func TestUnpackStaysInside(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "in")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.Symlink(top, filepath.Join(dir, "out")))
	for _, name := range []string{"results/out/file", "results/../../file", "/results/../file"} {
		_, err := Unpack(tarOf(t, name), dir)
		require.Error(t, err)
		require.False(t, errors.Is(err, fs.ErrExist))
		require.NoFileExists(t, filepath.Join(top, "file"), name)
	}
}

func tarOf(t *testing.T, name string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 1, Mode: 0o644}))
	_, err := w.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return &b
}
