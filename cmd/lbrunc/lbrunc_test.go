// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// unlimited holds every capability this program knows; limited lacks SYS_RESOURCE.
const (
	unlimited = capabilitySet(1<<41 - 1)
	limited   = unlimited &^ (1 << 24)
)

func TestFindTarget(t *testing.T) {
	for _, c := range []struct {
		args string
		want target
	}{
		{"--root /r --log /l --log-format json --systemd-cgroup create --bundle /b --pid-file /p id", target{"/b/config.json", true}},
		{"--root=/r create --bundle=/b id", target{"/b/config.json", true}},
		{"run -b /b id", target{"/b/config.json", true}},
		{"create id", target{"config.json", true}},
		{"--log create --log-format json exec --process /tmp/p.json --detach id", target{"/tmp/p.json", false}},
		{"exec -p /tmp/p.json id", target{"/tmp/p.json", false}},
		{"exec id ls -- --process x", target{}},
		{"--root /r delete --force id", target{}},
		{"--version", target{}},
		{"", target{}},
	} {
		require.Equal(t, c.want, findTarget(strings.Fields(c.args)), c.args)
	}
}

func TestEdit(t *testing.T) {
	for name, c := range map[string]struct {
		in, want string
		nested   bool
		bound    capabilitySet
	}{
		"bundle": {
			nested: true, bound: limited,
			in: `{"ociVersion":"1.0.2","process":{"args":["a<b"],"oomScoreAdj":-999,"rlimits":[{"type":"RLIMIT_NOFILE","hard":1,"soft":1}],` +
				`"capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_RESOURCE"],"ambient":[]}},"linux":{"big":9007199254740993,"x":1e400}}`,
			want: `{"linux":{"big":9007199254740993,"x":1e400},"ociVersion":"1.0.2","process":{"args":["a<b"],` +
				`"capabilities":{"ambient":[],"bounding":["CAP_CHOWN"]}}}`,
		},
		"exec": {
			bound: limited,
			in:    `{"capabilities":{"effective":["CAP_SYS_RESOURCE"]},"cwd":"/"}`,
			want:  `{"capabilities":{"effective":[]},"cwd":"/"}`,
		},
		"nothing to drop":      {bound: limited, in: `{ "cwd" : "/" }`, want: `{ "cwd" : "/" }`},
		"no process":           {nested: true, bound: limited, in: `{"linux":{}}`, want: `{"linux":{}}`},
		"capability present":   {bound: unlimited, in: `{"oomScoreAdj": 5, "capabilities":{"bounding":["CAP_SYS_RESOURCE"]}}`, want: `{"oomScoreAdj": 5, "capabilities":{"bounding":["CAP_SYS_RESOURCE"]}}`},
		"unknown capability":   {bound: limited, in: `{"capabilities":{"bounding":["CAP_FUTURE"]}}`, want: `{"capabilities":{"bounding":["CAP_FUTURE"]}}`},
		"null capabilities":    {bound: limited, in: `{"capabilities":null}`, want: `{"capabilities":null}`},
		"other cap is missing": {bound: unlimited &^ 1, in: `{"capabilities":{"bounding":["CAP_CHOWN"]},"oomScoreAdj":1}`, want: `{"capabilities":{"bounding":[]},"oomScoreAdj":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := edit([]byte(c.in), c.nested, c.bound)
			require.NoError(t, err)
			require.Equal(t, c.want, string(got))
		})
	}
	_, err := edit([]byte(`{`), true, limited)
	require.Error(t, err)
}

func TestEditFileKeepsMode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"oomScoreAdj":1}`), 0o600))
	require.NoError(t, editFile(target{file: file}, limited))
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, `{}`, string(data))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestBoundingSet(t *testing.T) {
	set, err := boundingSet()
	require.NoError(t, err)
	require.Equal(t, set.has("CAP_NET_ADMIN"), set.has("net_admin"))
}
