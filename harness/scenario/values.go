// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxValuesDepth keeps Helm values well inside what every JSON reader takes.
const maxValuesDepth = 100

// values reads Helm values: any mapping, of what JSON can hold.
func (l *loader) values(n *yaml.Node, path string) map[string]any {
	if !l.expect(n, yaml.MappingNode, path) {
		return nil
	}
	m, _ := l.value(n, path, 0).(map[string]any)
	if len(m) == 0 {
		return nil // as if the field were not there, which is how it is written again
	}
	return m
}

// value reads one Helm value into what JSON gives back: see number.
func (l *loader) value(n *yaml.Node, path string, depth int) any {
	if depth > maxValuesDepth {
		l.report(n, fmt.Sprintf("%s is nested deeper than %d levels", clip(path), maxValuesDepth), "")
		return nil
	}
	switch {
	case n.Kind == yaml.MappingNode && n.ShortTag() == "!!map":
		m := make(map[string]any, len(n.Content)/2)
		first := map[string]*yaml.Node{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null" {
				l.report(key, fmt.Sprintf("%s: expected a key, got %s", path, describe(key)), "")
				continue
			}
			if !l.duplicate(first, key, path) {
				m[key.Value] = l.value(n.Content[i+1], join(path, key.Value), depth+1)
			}
		}
		return m
	case n.Kind == yaml.SequenceNode && n.ShortTag() == "!!seq":
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = l.value(item, fmt.Sprintf("%s[%d]", path, i), depth+1)
		}
		return list
	case n.Kind == yaml.ScalarNode:
		return l.scalarValue(n, path)
	}
	l.report(n, fmt.Sprintf("%s: %s is not a Helm value", path, describe(n)), "")
	return nil
}

// scalarValue reads a string, number, boolean or null (which in Helm removes a
// default of the chart).
func (l *loader) scalarValue(n *yaml.Node, path string) any {
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!str":
		// Helm reads its own values files as YAML 1.1, where these are booleans: the
		// same text would mean something else on the other side of this loader.
		old := regexp.MustCompile(`^(y|Y|yes|Yes|YES|on|On|ON|n|N|no|No|NO|off|Off|OFF)$`)
		if n.Style == 0 && old.MatchString(n.Value) {
			l.report(n, fmt.Sprintf("%s: %s is a string to YAML 1.2 and a boolean to Helm", path, n.Value), "write true, false, or quotes")
		}
		return n.Value
	case "!!timestamp":
		return n.Value // a date is text to Helm
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			l.report(n, fmt.Sprintf("%s: %s", path, strings.TrimPrefix(err.Error(), "yaml: ")), "")
			return nil
		}
		if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			l.report(n, fmt.Sprintf("%s: %s is not a number that JSON can hold", path, clip(n.Value)), "")
			return nil
		}
		return number(v)
	}
	l.report(n, fmt.Sprintf("%s: %s is not a Helm value", path, describe(n)), "")
	return nil
}

// number gives whole numbers one Go type, int, where they fit. A chart's template
// prints a large float64 as 1e+06; and 1.0 in YAML must be the 1 that JSON makes of it.
func number(v any) any {
	switch n := v.(type) {
	case int64:
		return int(n)
	case uint64:
		if n <= math.MaxInt64 {
			return int(n)
		}
	case float64:
		if n == math.Trunc(n) && n >= math.MinInt64 && n < math.MaxInt64 {
			return int(n)
		}
		if n == math.Trunc(n) && n > 0 && n < math.MaxUint64 {
			return uint64(n)
		}
	}
	return v
}

// UnmarshalJSON keeps whole numbers in Values whole, so that a scenario that went
// through JSON equals the one that was loaded.
func (c *Component) UnmarshalJSON(data []byte) error {
	type plain Component // without this method
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	decoder.UseNumber()
	if err := decoder.Decode((*plain)(c)); err != nil {
		return fmt.Errorf("decode component: %w", err)
	}
	for key, v := range c.Values {
		c.Values[key] = plainNumbers(v)
	}
	return nil
}

// plainNumbers replaces the json.Numbers in v, in place where it can.
func plainNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			v[key] = plainNumbers(inner)
		}
	case []any:
		for i, inner := range v {
			v[i] = plainNumbers(inner)
		}
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return int(n)
		}
		if n, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return v.String() // beyond float64; text is the only thing that keeps it
		}
		return number(f)
	}
	return v
}

// MergeValues lays over upon under, as Helm does with several values files: maps
// merge key by key, anything else, also a null, replaces. Neither is changed.
func MergeValues(under, over map[string]any) map[string]any {
	merged := make(map[string]any, len(under)+len(over))
	for key, v := range under {
		merged[key] = v
	}
	for key, v := range over {
		below, isMap := merged[key].(map[string]any)
		above, both := v.(map[string]any)
		if isMap && both {
			merged[key] = MergeValues(below, above)
		} else {
			merged[key] = v
		}
	}
	return merged
}
