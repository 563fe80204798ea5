// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package repository

import (
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// public are hosts that everybody's configuration may name.
func public() []string {
	return []string{
		"proxy.golang.org", "sum.golang.org", "deb.debian.org", "security.debian.org", "archive.ubuntu.com", "azure.archive.ubuntu.com",
		"security.ubuntu.com", "localhost", "github.com",
	}
}

// ownNames are the names that only this machine knows: the hosts its go command and
// its apt fetch from, its own name, and the paths of this checkout and its user.
func ownNames(t *testing.T) []string {
	t.Helper()
	var names []string
	add := func(raw string) {
		u, err := url.Parse(raw)
		if err != nil || u.Hostname() == "" || slices.Contains(public(), u.Hostname()) {
			return
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && a.IsLoopback() {
			return
		}
		names = append(names, u.Hostname())
	}
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOPROXY", "GOSUMDB").Output()
	require.NoError(t, err)
	for entry := range strings.FieldsFuncSeq(string(out), func(r rune) bool { return strings.ContainsRune(",| \n", r) }) {
		add(entry)
	}
	for _, key := range []string{"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"} {
		add(os.Getenv(key))
	}
	for _, pattern := range []string{"sources.list", "sources.list.d/*", "apt.conf", "apt.conf.d/*"} {
		lists, err := filepath.Glob(filepath.Join("/etc/apt", pattern))
		require.NoError(t, err)
		for _, list := range lists {
			data, err := os.ReadFile(list)
			if err != nil {
				continue // not everybody may read it
			}
			for _, m := range regexp.MustCompile(`(?m)^[^#\n]*?(https?://[^\s"';]+)`).FindAllStringSubmatch(string(data), -1) {
				add(m[1])
			}
		}
	}
	top, err := filepath.Abs(root)
	require.NoError(t, err)
	if home, err := os.UserHomeDir(); err == nil && strings.Count(home, "/") > 1 {
		names = append(names, home+"/")
	}
	return append(names, top+"/")
}

func TestNoFileNamesThisMachine(t *testing.T) {
	names := ownNames(t)
	elsewhere := regexp.MustCompile(`(?:^|[\s"'=(:])/(?:home|Users)/[a-zA-Z0-9_.-]+/`)
	for name, text := range texts(t) {
		for _, own := range names {
			if i := strings.Index(text, own); i >= 0 {
				// The name itself stays out of the log, which is public, too.
				t.Errorf("%s:%d names a host or a path of this machine", name, lineOf(text, i))
			}
		}
		if loc := elsewhere.FindStringIndex(text); loc != nil {
			t.Errorf("%s:%d names a path in somebody's home: %s", name, lineOf(text, loc[0]), strings.TrimSpace(text[loc[0]:loc[1]]))
		}
	}
}
