// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestFindMirror(t *testing.T) {
	release := &fstest.MapFile{Data: []byte("ID=debian\nVERSION_CODENAME=bookworm\n")}
	deb822 := `Types: deb
URIs: https://vendor.example.com/node
Suites: bookworm
Components: main

# comment
Types: deb deb-src
URIs: http://mirror.example.com/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/k.gpg

Types: deb
URIs: http://mirror.example.com/debian-security
Suites: bookworm-security
Components: main
`
	for name, c := range map[string]struct {
		files fstest.MapFS
		want  mirror
	}{
		"deb822": {
			fstest.MapFS{"etc/os-release": release, "etc/apt/sources.list.d/debian.sources": {Data: []byte(deb822)}},
			mirror{url: "http://mirror.example.com/debian", suite: "bookworm", keyring: "/usr/share/keyrings/k.gpg", components: []string{"main", "contrib"}},
		},
		"one line": {
			fstest.MapFS{"etc/os-release": release, "etc/apt/sources.list": {Data: []byte(
				"# deb http://old.example.com/debian bookworm main\ndeb http://m.example.com/debian bookworm-updates main\n" +
					"deb [arch=amd64 signed-by=/k.gpg] http://m.example.com/debian bookworm main\n")}},
			mirror{url: "http://m.example.com/debian", suite: "bookworm", keyring: "/k.gpg", components: []string{"main"}},
		},
		"a list of mirrors": {
			fstest.MapFS{
				"etc/os-release": release, "etc/apt/sources.list": {Data: []byte("deb mirror+file:/etc/apt/mirrors.txt bookworm main\n")},
				"etc/apt/mirrors.txt": {Data: []byte("# nearest first\nhttp://m.example.com/debian/\tpriority:1\nhttp://far.example.com/debian/\tpriority:2\n")},
			},
			mirror{url: "http://m.example.com/debian/", suite: "bookworm", components: []string{"main"}},
		},
		"a list of mirrors that is not there": {
			fstest.MapFS{
				"etc/os-release":       release,
				"etc/apt/sources.list": {Data: []byte("deb mirror+file:/gone bookworm main\ndeb http://m.example.com/debian bookworm main\n")},
			},
			mirror{url: "http://m.example.com/debian", suite: "bookworm", components: []string{"main"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := findMirror(c.files)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	_, err := findMirror(fstest.MapFS{"etc/os-release": release})
	require.ErrorContains(t, err, `none for "bookworm"`)
}

// The closure follows links on the way, and the links of folders, as they are in a
// system whose /bin is a link.
func TestClosureFollowsLinks(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"usr/bin", "usr/lib", "etc/alternatives"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, "usr/bin/tool-nft"), []byte("#!/bin/sh\n"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "usr/bin/other"), nil, 0o755))
	require.NoError(t, os.Symlink("usr/bin", filepath.Join(root, "bin")))
	require.NoError(t, os.Symlink("usr/lib", filepath.Join(root, "lib")))
	require.NoError(t, os.Symlink("/etc/alternatives/tool", filepath.Join(root, "usr/bin/tool")))
	require.NoError(t, os.Symlink("/usr/bin/tool-nft", filepath.Join(root, "etc/alternatives/tool")))

	got, err := closure(root, []string{"bin/tool", "lib", "etc/missing"})
	require.NoError(t, err)
	require.Equal(t, []string{
		"bin", "etc", "etc/alternatives", "etc/alternatives/tool", "lib", "usr", "usr/bin",
		"usr/bin/tool", "usr/bin/tool-nft", "usr/lib",
	}, got)
}

func TestABaseSystemNeedsRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("is about an ordinary user; CI runs the tests as one, too")
	}
	err := nodeSystem().build(t.Context(), mirror{}, t.TempDir(), func(string) {})
	require.ErrorContains(t, err, "run it with sudo")
}
