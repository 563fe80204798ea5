// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package repository holds tests of the repository itself: licences, comments,
// documents that must agree with the code, and what may import what.
package repository

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// root is the top of the checkout.
const root = "../.."

// files lists what git tracks, and what it would track, below the top: a slip is
// found before it is committed.
func files(t *testing.T, patterns ...string) []string {
	t.Helper()
	args := append([]string{"ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate", "--"}, patterns...)
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) || strings.Contains(stderr.String(), "not a git repository") {
		t.Skip("not a git checkout")
	}
	require.NoError(t, err, stderr.String())
	var list []string
	for name := range strings.SplitSeq(string(out), "\x00") {
		if name == "" {
			continue
		}
		// A file that was deleted and not yet committed is listed, too.
		if info, err := os.Lstat(filepath.Join(root, name)); err == nil && info.Mode().IsRegular() {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	require.NotEmpty(t, list, "no file matches %v", patterns)
	return list
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	return string(data)
}

// texts gives the content of every text file. What others wrote is theirs.
func texts(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range files(t) {
		data, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since it was listed
		}
		require.NoError(t, err)
		if bytes.IndexByte(data, 0) >= 0 || !utf8.Valid(data) || strings.Contains(name, "third_party/") {
			continue
		}
		all[name] = string(data)
	}
	return all
}

// lineOf is the line number of an offset.
func lineOf(text string, offset int) int { return 1 + strings.Count(text[:offset], "\n") }
