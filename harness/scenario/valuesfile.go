// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"go.yaml.in/yaml/v3"
)

// mergeValuesFiles puts the content of each values file under the component's
// values and forgets the file: what is left needs no directory, and its digest
// tells what was installed rather than where it was written.
func (l *loader) mergeValuesFiles(s *Scenario) {
	for i := range s.Spec.Components {
		c := &s.Spec.Components[i]
		at := l.at[fmt.Sprintf("spec.components[%d].valuesFile", i)]
		if c.ValuesFile == "" || at == nil {
			continue
		}
		if problem, _ := checkFile(c.ValuesFile); problem != "" {
			continue // reported where it was decoded
		}
		if values, ok := l.readValuesFile(at, c.ValuesFile); ok {
			if merged := MergeValues(values, c.Values); len(merged) > 0 {
				c.Values = merged
			}
			c.ValuesFile = ""
		}
	}
}

// readValuesFile reads one file; its errors carry its own name and positions.
func (l *loader) readValuesFile(at *yaml.Node, name string) (map[string]any, bool) {
	if l.opts.Files == nil {
		l.report(at, fmt.Sprintf("values file %q can't be read without a directory", name), "load the scenario from its file")
		return nil, false
	}
	data, err := readLimited(l.opts.Files, name)
	if err != nil {
		suggestion := ""
		if errors.Is(err, fs.ErrNotExist) {
			suggestion = suggestFile(l.opts.Files, name)
		}
		var where *fs.PathError
		if errors.As(err, &where) {
			err = where.Err // the path is in the message already
		}
		l.report(at, fmt.Sprintf("values file %q can't be read: %s", clip(name), err), suggestion)
		return nil, false
	}
	src, root, errs := parse(path.Join(path.Dir(l.src.name), name), data)
	if len(errs) > 0 {
		l.errs = append(l.errs, errs...)
		return nil, false
	}
	inner := &loader{src: src, opts: l.opts, at: map[string]*yaml.Node{}}
	values := inner.values(root, "values")
	l.errs = append(l.errs, inner.errs...)
	return values, len(inner.errs) == 0
}

// suggestFile looks for a file of nearly this name in the same directory.
func suggestFile(files fs.FS, name string) string {
	entries, err := fs.ReadDir(files, path.Dir(name))
	if err != nil {
		return "no such directory"
	}
	var names []string
	for _, entry := range entries {
		if !entry.IsDir() {
			names = append(names, path.Join(path.Dir(name), entry.Name()))
		}
	}
	if best, ok := closest(name, names); ok {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "put the file beside the scenario"
}

// readLimited reads a file up to one byte past MaxSize, which parse then refuses.
func readLimited(files fs.FS, name string) ([]byte, error) {
	file, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return io.ReadAll(io.LimitReader(file, MaxSize+1))
}
