// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package pins keeps the digests of what is taken from registries: a tag or a version
// is a name that anyone with the right to push can move, a digest is the content.
package pins

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.yaml.in/yaml/v3"
)

// Format is the number of the file's format.
const Format = 1

// header heads every file that is written.
const header = `# Digests of what lbmatrix takes from registries and chart repositories (--source registry):
# of an image, the sha256 of the index or manifest that its tag points at; of a chart, the
# sha256 of its archive. Written by "lbmatrix images pin"; read what it changes.
`

// file is how pins lie on disk.
type file struct {
	Format  int               `yaml:"format"`
	Digests map[string]string `yaml:"digests"`
}

// Pins are digests by the name of an image or chart. The zero value has none.
type Pins struct{ digests map[string]string }

// Parse reads a file's text, strictly.
func Parse(data []byte) (Pins, error) {
	var f file
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		return Pins{}, fmt.Errorf("read pins: %w", err)
	}
	if err := dec.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return Pins{}, errors.New("read pins: more than one document")
	}
	if f.Format != Format {
		return Pins{}, fmt.Errorf("read pins: format %d, and this program reads %d", f.Format, Format)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Digests)) {
		if h, err := v1.NewHash(f.Digests[name]); err != nil || h.Algorithm != "sha256" {
			return Pins{}, fmt.Errorf("read pins: %s: %q is no digest: want sha256: and 64 hex digits", name, f.Digests[name])
		}
	}
	return Pins{digests: f.Digests}, nil
}

// ReadFile reads a file of pins. One that is not there has none.
func ReadFile(path string) (Pins, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Pins{}, nil
	}
	if err != nil {
		return Pins{}, fmt.Errorf("read pins: %w", err)
	}
	p, err := Parse(data)
	if err != nil {
		return Pins{}, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// DefaultFile is where the user's own pins are: $LBMATRIX_PINS, else lbmatrix/pins.yaml
// in the user's configuration folder.
func DefaultFile() (string, error) {
	if path := os.Getenv("LBMATRIX_PINS"); path != "" {
		return path, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the file of pins: %w; set LBMATRIX_PINS", err)
	}
	return filepath.Join(dir, "lbmatrix", "pins.yaml"), nil
}

// Digest is the pinned digest of a name, "" where there is none.
func (p Pins) Digest(name string) string { return p.digests[name] }

// Over gives p's pins and, where p has none, base's.
func (p Pins) Over(base Pins) Pins {
	all := maps.Clone(base.digests)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, p.digests)
	return Pins{digests: all}
}

// With gives p with one more.
func (p Pins) With(name, digest string) Pins {
	return Pins{digests: map[string]string{name: digest}}.Over(p)
}

// Names lists what is pinned, in order.
func (p Pins) Names() []string {
	names := slices.Collect(maps.Keys(p.digests))
	sort.Strings(names)
	return names
}

// Text is the file's text.
func (p Pins) Text() ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(header)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	digests := p.digests
	if digests == nil {
		digests = map[string]string{}
	}
	if err := enc.Encode(file{Format: Format, Digests: digests}); err != nil {
		return nil, fmt.Errorf("write pins: %w", err)
	}
	return out.Bytes(), nil
}

// WriteFile replaces a file of pins in one step.
func (p Pins) WriteFile(path string) error {
	data, err := p.Text()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write pins: %w", err)
	}
	next := path + ".next"
	if err := os.WriteFile(next, data, 0o644); err != nil {
		return fmt.Errorf("write pins: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("write pins: %w", errors.Join(err, os.Remove(next)))
	}
	return nil
}
