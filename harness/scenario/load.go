// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// Options is what a scenario is checked against. The lists are passed in because
// this package must not import the ones that own the names.
type Options struct {
	Mutations []string // names a mutation may have; nil allows any
	Checks    []string // IDs an expectation may name; nil allows any
	Files     fs.FS    // the scenario's directory, for values files; LoadFile sets it
}

// Load reads a scenario. name is the file's name in errors; the directory in it
// also leads the names of values files. What is returned is resolved: defaults are
// filled in, and values files are merged under the values and no longer named. When anything is
// wrong the error is Errors, with all of it.
func Load(name string, data []byte, opts Options) (*Scenario, error) {
	src, root, errs := parse(name, data)
	if len(errs) > 0 {
		errs.sortFrom(name)
		return nil, errs
	}
	l := &loader{src: src, opts: opts, rules: rules(opts), at: map[string]*yaml.Node{}}
	s := &Scenario{}
	l.decode(root, root, reflect.ValueOf(s).Elem(), "")
	s.SetDefaults()
	l.validate(s)
	l.mergeValuesFiles(s)
	if len(l.errs) > 0 {
		l.errs.sortFrom(name)
		return nil, l.errs
	}
	return s, nil
}

// LoadFile reads a scenario and the values files beside it. Links that lead out
// of its directory are not followed.
func LoadFile(name string, opts Options) (*Scenario, error) {
	root, err := os.OpenRoot(filepath.Dir(name))
	if err != nil {
		return nil, fmt.Errorf("load scenario %s: %w", name, err)
	}
	defer root.Close()
	opts.Files = root.FS()
	data, err := readLimited(opts.Files, filepath.Base(name))
	if err != nil {
		return nil, fmt.Errorf("load scenario %s: %w", name, err)
	}
	return Load(name, data, opts)
}
