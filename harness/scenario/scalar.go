// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// describe says what a node is, for "expected x, got y".
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!str":
		return fmt.Sprintf("the string %q", clip(n.Value))
	case "!!int", "!!float":
		return "the number " + clip(n.Value)
	case "!!bool":
		return clip(n.Value)
	case "!!null":
		return "nothing"
	case "!!timestamp":
		return "the date " + clip(n.Value)
	default:
		return "a value of type " + clip(n.ShortTag())
	}
}

// decodeScalar reads a string, number, boolean or duration.
func (l *loader) decodeScalar(n *yaml.Node, v reflect.Value, path string) {
	r := l.rules[generic(path)]
	if v.Type() == reflect.TypeFor[Duration]() {
		l.decodeDuration(n, v, path, r)
		return
	}
	switch v.Kind() {
	case reflect.String:
		l.decodeString(n, v, path, r)
	case reflect.Bool:
		l.decodeBool(n, v, path)
	case reflect.Int:
		l.decodeInt(n, v, path, r)
	case reflect.Float64:
		l.decodeFloat(n, v, path, r)
	default:
		// Only a type added without its decoding comes here, and the round trip test finds it.
		panic("scenario: no decoding for " + v.Type().String())
	}
}

func (l *loader) decodeString(n *yaml.Node, v reflect.Value, path string, r rule) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		suggestion := ""
		if n.Kind == yaml.ScalarNode {
			suggestion = fmt.Sprintf("write it in quotes: %q", clip(n.Value))
			if problem, better := r.text(n.Value); problem != "" {
				suggestion = better // quotes alone would not make it right
			}
		}
		l.report(n, fmt.Sprintf("%s: expected a string, got %s", path, describe(n)), suggestion)
		return
	}
	v.SetString(n.Value)
	if problem, suggestion := r.text(n.Value); problem != "" {
		l.report(n, path+": "+problem, suggestion)
	}
}

func (l *loader) decodeBool(n *yaml.Node, v reflect.Value, path string) {
	value := strings.ToLower(n.Value)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || (value != "true" && value != "false") {
		l.report(n, fmt.Sprintf("%s: expected true or false, got %s", path, describe(n)), "")
		return
	}
	v.SetBool(value == "true")
}

func (l *loader) decodeInt(n *yaml.Node, v reflect.Value, path string, r rule) {
	digits := n.Kind == yaml.ScalarNode && n.ShortTag() == "!!float" && matches(`^-?[1-9][0-9]*$`, n.Value) // too many for YAML's integer
	if !digits && (n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int") {
		l.report(n, fmt.Sprintf("%s: expected an integer, got %s", path, describe(n)), allowedNumbers(r))
		return
	}
	// YAML reads 010 as eight and 1_0 as ten: what is meant is not what a reader sees.
	if !matches(`^-?(0|[1-9][0-9]*)$`, n.Value) {
		l.report(n, fmt.Sprintf("%s: %s is not a plain decimal integer", path, clip(n.Value)), allowedNumbers(r))
		return
	}
	number, err := strconv.ParseInt(n.Value, 10, 0)
	if err != nil || !r.contains(float64(number)) {
		l.report(n, fmt.Sprintf("%s: %s is out of range", path, clip(n.Value)), allowedNumbers(r))
		return
	}
	v.SetInt(number)
}

func (l *loader) decodeFloat(n *yaml.Node, v reflect.Value, path string, r rule) {
	if tag := n.ShortTag(); n.Kind != yaml.ScalarNode || (tag != "!!float" && tag != "!!int") {
		l.report(n, fmt.Sprintf("%s: expected a number, got %s", path, describe(n)), allowedNumbers(r))
		return
	}
	number, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || math.IsNaN(number) || !matches(`^[-+.0-9eE]+$`, n.Value) {
		l.report(n, fmt.Sprintf("%s: %s is not a plain decimal number", path, clip(n.Value)), allowedNumbers(r))
		return
	}
	if !r.contains(number) {
		l.report(n, fmt.Sprintf("%s: %s is out of range", path, clip(n.Value)), allowedNumbers(r))
		return
	}
	v.SetFloat(number + 0) // no negative zero: it is written as -0 and would change the digest
}

func (l *loader) decodeDuration(n *yaml.Node, v reflect.Value, path string, r rule) {
	allowed := fmt.Sprintf("allowed: %s to %s", r.shortest, r.longest)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		suggestion := "write a number and a unit, for example 40ms or 2s"
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" {
			suggestion = fmt.Sprintf("did you mean %sms or %ss?", clip(n.Value), clip(n.Value))
		}
		l.report(n, fmt.Sprintf("%s: expected a duration, got %s", path, describe(n)), suggestion)
		return
	}
	parsed, err := time.ParseDuration(n.Value)
	switch {
	case err != nil || !matches(durationPattern, n.Value):
		l.report(n, fmt.Sprintf("%s: %q is not a duration", path, clip(n.Value)), "write a number and a unit, for example 40ms or 2s")
	case parsed < r.shortest || parsed > r.longest:
		l.report(n, fmt.Sprintf("%s: %s is out of range", path, clip(n.Value)), allowed)
	default:
		v.SetInt(int64(parsed))
	}
}

// allowedNumbers says which numbers a field takes.
func allowedNumbers(r rule) string { return "allowed: " + r.span() }
