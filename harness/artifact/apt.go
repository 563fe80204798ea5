// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"sort"
	"strings"
)

// mirror is where this machine's own packages come from.
type mirror struct {
	url, suite, keyring string
	components          []string
}

// findMirror reads apt's configuration (fsys is the machine's root) for the archive
// of the release that runs here. The address is never written in the program.
func findMirror(fsys fs.FS) (mirror, error) {
	suite, err := codename(fsys)
	if err != nil {
		return mirror{}, fmt.Errorf("find package mirror: %w", err)
	}
	files, _ := fs.Glob(fsys, "etc/apt/sources.list.d/*.sources")
	lists, _ := fs.Glob(fsys, "etc/apt/sources.list.d/*.list")
	sort.Strings(files)
	sort.Strings(lists)
	for _, file := range append(append(files, "etc/apt/sources.list"), lists...) {
		data, err := fs.ReadFile(fsys, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return mirror{}, fmt.Errorf("find package mirror: %w", err)
		}
		parse := parseOneLine
		if path.Ext(file) == ".sources" {
			parse = parseDeb822
		}
		if m, ok := parse(string(data), suite, func(uri string) string { return fromMirrorList(fsys, uri) }); ok {
			return m, nil
		}
	}
	return mirror{}, fmt.Errorf("find package mirror: apt's sources name none for %q", suite)
}

func codename(fsys fs.FS) (string, error) {
	data, err := fs.ReadFile(fsys, "etc/os-release")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return strings.Trim(name, `"`), nil
		}
	}
	return "", errors.New("no VERSION_CODENAME in /etc/os-release")
}

// fromMirrorList returns the first address of the list that a mirror+file URI names
// (apt-transport-mirror(1); hosted CI runners use it), any other URI as it is.
func fromMirrorList(fsys fs.FS, uri string) string {
	name, ok := strings.CutPrefix(uri, "mirror+file:")
	if !ok {
		return uri
	}
	data, err := fs.ReadFile(fsys, strings.Trim(path.Clean("/"+name), "/"))
	if err != nil {
		return uri // unusable, like every transport that debootstrap does not know
	}
	for line := range strings.Lines(string(data)) {
		// An address, then options like priority:1.
		if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
			return fields[0]
		}
	}
	return uri
}

// parseDeb822 reads the stanza format of *.sources (sources.list(5)).
func parseDeb822(text, suite string, resolve func(string) string) (mirror, bool) {
	for _, stanza := range strings.Split(strings.ReplaceAll(text, "\r", ""), "\n\n") {
		fields := map[string]string{}
		last := ""
		lines := bufio.NewScanner(strings.NewReader(stanza))
		for lines.Scan() {
			line := lines.Text()
			if strings.HasPrefix(line, "#") {
				continue
			}
			if line != "" && (line[0] == ' ' || line[0] == '\t') {
				fields[last] += "\n" + strings.TrimSpace(line)
				continue
			}
			name, value, ok := strings.Cut(line, ":")
			if ok {
				last = strings.ToLower(name)
				fields[last] = strings.TrimSpace(value)
			}
		}
		m := mirror{suite: suite, components: strings.Fields(fields["components"]), keyring: fields["signed-by"]}
		if uris := strings.Fields(fields["uris"]); len(uris) > 0 {
			m.url = resolve(uris[0])
		}
		if !contains(strings.Fields(fields["types"]), "deb") || strings.EqualFold(fields["enabled"], "no") {
			continue
		}
		if contains(strings.Fields(fields["suites"]), suite) && m.usable() {
			return m, true
		}
	}
	return mirror{}, false
}

// parseOneLine reads `deb [options] uri suite component...` lines.
func parseOneLine(text, suite string, resolve func(string) string) (mirror, bool) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		m := mirror{suite: suite}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			options, after, _ := strings.Cut(rest[1:], "]")
			for _, o := range strings.Fields(options) {
				if v, ok := strings.CutPrefix(o, "signed-by="); ok {
					m.keyring = v
				}
			}
			rest = after
		}
		fields := strings.Fields(rest)
		if len(fields) < 3 || fields[1] != suite {
			continue
		}
		m.url, m.components = resolve(fields[0]), fields[2:]
		if m.usable() {
			return m, true
		}
	}
	return mirror{}, false
}

// usable leaves out sources of vendors, which reuse a release's name but hold no
// base system, and transports that debootstrap does not know.
func (m *mirror) usable() bool {
	u, err := url.Parse(m.url)
	if err != nil || !contains(m.components, "main") {
		return false
	}
	if !strings.HasPrefix(m.keyring, "/") {
		m.keyring = "" // a key written into the source itself: debootstrap uses its default
	}
	switch u.Scheme {
	case "http", "https", "file":
		return strings.Contains(u.Path, "debian") || strings.Contains(u.Path, "ubuntu")
	}
	return false
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
