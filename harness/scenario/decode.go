// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// loader fills a Scenario from a tree of nodes and keeps all that is wrong. It
// does not use yaml's own decoding: that loses columns, and stops at the type.
type loader struct {
	src   *source
	opts  Options
	rules map[string]rule
	at    map[string]*yaml.Node // the node each field came from, by its path
	errs  Errors
}

// report adds an error at a node.
func (l *loader) report(n *yaml.Node, message, suggestion string) {
	l.errs = append(l.errs, l.src.errorAt(n.Line, n.Column, message, suggestion))
}

// place names a path in a message; the root has an empty path.
func place(path string) string {
	if path == "" {
		return "the scenario"
	}
	return path
}

// join appends a field to a path.
func join(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}

// generic turns a path of the file (expect[1].check) into one of rules (expect[].check).
func generic(path string) string {
	var out strings.Builder
	skip := false
	for _, r := range path {
		if r == ']' {
			skip = false
		}
		if !skip {
			out.WriteRune(r)
		}
		if r == '[' {
			skip = true
		}
	}
	return out.String()
}

// decode fills v from n. key is where a missing field is reported.
func (l *loader) decode(n, key *yaml.Node, v reflect.Value, path string) {
	l.at[path] = n
	if n.ShortTag() == "!!null" {
		l.report(n, place(path)+" has no value", "write one or remove the field")
		return
	}
	switch {
	case v.Type() == reflect.TypeFor[map[string]any]():
		v.Set(reflect.ValueOf(l.values(n, path)))
	case v.Kind() == reflect.Struct:
		l.decodeStruct(n, key, v, path)
	case v.Kind() == reflect.Slice:
		l.decodeSlice(n, v, path)
	default:
		l.decodeScalar(n, v, path)
	}
}

// field is one field of a type as a scenario file names it.
type field struct {
	name     string
	about    string
	required bool
	index    int
	typ      reflect.Type
}

// fieldsOf reads the tags of a struct.
func fieldsOf(t reflect.Type) []field {
	var all []field
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		all = append(all, field{
			name: name, about: f.Tag.Get("jsonschema"), required: !strings.Contains(options, "omitempty"),
			index: i, typ: f.Type,
		})
	}
	return all
}

// decodeStruct reads a mapping whose keys are the fields of v's type.
func (l *loader) decodeStruct(n, key *yaml.Node, v reflect.Value, path string) {
	if !l.expect(n, yaml.MappingNode, path) {
		return
	}
	fields := fieldsOf(v.Type())
	first := map[string]*yaml.Node{}
	meant := map[string]bool{} // fields that a misspelt one stands for
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if l.duplicate(first, name, path) {
			continue
		}
		at := slices.IndexFunc(fields, func(f field) bool { return name.Kind == yaml.ScalarNode && f.name == name.Value })
		if at < 0 {
			// What stands under a misspelt name is checked too, so that one typing error hides no other.
			at = l.unknownField(name, fields, path)
			if at < 0 || meant[fields[at].name] || hasKey(n, fields[at].name) {
				continue
			}
			meant[fields[at].name] = true
		}
		l.decode(value, name, v.Field(fields[at].index), join(path, fields[at].name))
	}
	for _, f := range fields {
		if f.required && first[f.name] == nil && !meant[f.name] {
			l.report(key, fmt.Sprintf("%s has no %s", place(path), f.name), "add "+f.name+": "+f.about)
		}
	}
}

// hasKey tells whether a mapping has a key.
func hasKey(n *yaml.Node, name string) bool {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Kind == yaml.ScalarNode && n.Content[i].Value == name {
			return true
		}
	}
	return false
}

// decodeSlice reads a list.
func (l *loader) decodeSlice(n *yaml.Node, v reflect.Value, path string) {
	if !l.expect(n, yaml.SequenceNode, path) {
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		l.decode(item, item, list.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
	if len(n.Content) == 0 {
		list = reflect.Zero(v.Type()) // as if the field were not there, which is how it is written again
	}
	v.Set(list)
	r := l.rules[generic(path)]
	if len(n.Content) < r.minItems {
		l.report(n, path+" is empty", fmt.Sprintf("write at least %d", r.minItems))
	}
}

// expect reports a node of the wrong kind.
func (l *loader) expect(n *yaml.Node, kind yaml.Kind, path string) bool {
	want, tag := "a mapping", "!!map"
	if kind == yaml.SequenceNode {
		want, tag = "a list", "!!seq"
	}
	if n.Kind == kind && n.ShortTag() == tag {
		return true
	}
	l.report(n, fmt.Sprintf("%s: expected %s, got %s", place(path), want, describe(n)), "")
	return false
}

// duplicate reports a key that was there before, and remembers one that was not.
func (l *loader) duplicate(first map[string]*yaml.Node, key *yaml.Node, path string) bool {
	if key.Kind != yaml.ScalarNode {
		return false
	}
	if before := first[key.Value]; before != nil {
		l.report(key, fmt.Sprintf("duplicate key %q in %s", clip(key.Value), place(path)),
			fmt.Sprintf("it was written at line %d first", before.Line))
		return true
	}
	first[key.Value] = key
	return false
}

// manyErrors is where looking a name up all over the types stops: a megabyte of
// unknown fields would take seconds.
const manyErrors = 100

// unknownField says which field may have been meant, or where else it belongs. It
// gives the index of the one meant, or -1.
func (l *loader) unknownField(key *yaml.Node, fields []field, path string) int {
	if key.Kind != yaml.ScalarNode {
		l.report(key, fmt.Sprintf("expected a field of %s, got %s", place(path), describe(key)), "")
		return -1
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	suggestion := Suggest(key.Value, names)
	best, near := closest(key.Value, names)
	if !near && len(l.errs) < manyErrors {
		if home := homeOf(key.Value, reflect.TypeFor[Scenario](), ""); home != "" {
			suggestion = "it belongs in " + home
		}
	}
	l.report(key, fmt.Sprintf("unknown field %q in %s", clip(key.Value), place(path)), suggestion)
	if !near {
		return -1
	}
	return slices.Index(names, best)
}

// homeOf gives the path of the first struct with a field of this name.
func homeOf(name string, t reflect.Type, path string) string {
	for _, f := range fieldsOf(t) {
		if f.name == name {
			return place(path)
		}
	}
	for _, f := range fieldsOf(t) {
		inner, at := f.typ, join(path, f.name)
		if inner.Kind() == reflect.Slice {
			inner, at = inner.Elem(), at+"[]"
		}
		if inner.Kind() == reflect.Struct {
			if home := homeOf(name, inner, at); home != "" {
				return home
			}
		}
	}
	return ""
}
