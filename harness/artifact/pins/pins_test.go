// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package pins

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	one = "sha256:" + strings.Repeat("1", 64)
	two = "sha256:" + strings.Repeat("2", 64)
)

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "pins.yaml")
	p, err := ReadFile(path)
	require.NoError(t, err)
	require.Empty(t, p.Names())
	p = p.With("b:1", one).With("a:1", two)
	require.NoError(t, p.WriteFile(path))
	again, err := ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, []string{"a:1", "b:1"}, again.Names())
	require.Equal(t, one, again.Digest("b:1"))
	require.Empty(t, again.Digest("c:1"))
	first, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, again.WriteFile(path))
	second, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(first), string(second))
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, left, 1)
}

func TestTheUsersPinsWin(t *testing.T) {
	base := Pins{}.With("a", one).With("b", one)
	own := Pins{}.With("b", two)
	all := own.Over(base)
	require.Equal(t, one, all.Digest("a"))
	require.Equal(t, two, all.Digest("b"))
	require.Equal(t, one, base.Digest("b"), "no argument changes")
}

func TestMistakesAreSaid(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "read pins",
		"format: 2\ndigests: {}\n":              "format 2",
		"format: 1\ndigest: {}\n":               "digest not found",
		"format: 1\ndigests:\n  a: sha256:12\n": "a: \"sha256:12\" is no digest",
		"format: 1\ndigests:\n  a: sha512:" + strings.Repeat("1", 128) + "\n": "is no digest",
		"format: 1\n---\nformat: 1\n":                                         "more than one",
		"\x00":                                                                "read pins",
	} {
		_, err := Parse([]byte(text))
		require.ErrorContains(t, err, want, text)
	}
	dir := t.TempDir()
	_, err := ReadFile(dir)
	require.ErrorContains(t, err, "read pins")
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("format: 1\ndigests:\n  a:1: " + one + "\n"))
	f.Add([]byte("format: 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			return
		}
		text, err := p.Text()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(text)
		if err != nil {
			t.Fatalf("cannot read what was written: %v\n%s", err, text)
		}
		for _, n := range p.Names() {
			if again.Digest(n) != p.Digest(n) {
				t.Fatalf("%q: %q became %q", n, p.Digest(n), again.Digest(n))
			}
		}
	})
}
