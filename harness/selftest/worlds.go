// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package selftest

import (
	"fmt"
	"maps"
	"slices"
)

// Worlds returns every world, in the order in which they are told. A new check gets its
// code into Want of the worlds that it must pass in and of those it must fail in.
func Worlds() []World {
	return slices.Concat(segmentWorlds(), sixWorlds(), trafficWorlds(), timingWorlds())
}

// want makes a World's Want: the checks of base, changed by pairs of check and code.
func want(base map[string]string, pairs ...string) map[string]string {
	out := maps.Clone(base)
	for i := 0; i+1 < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

// Uncovered lists the checks that the worlds do not show in both directions, with what is
// missing. The others would pass the selftest by saying always the same.
func Uncovered(worlds []World, checks []string) []string {
	var out []string
	for _, id := range checks {
		good, bad := false, false
		for _, w := range worlds {
			code, asked := w.Want[id]
			good = good || asked && code == codeOK
			bad = bad || asked && code != codeOK && code != codeNoData
		}
		switch {
		case !good && !bad:
			out = append(out, fmt.Sprintf("%s: no world asks it", id))
		case !good:
			out = append(out, fmt.Sprintf("%s: no world that it passes in", id))
		case !bad:
			out = append(out, fmt.Sprintf("%s: no world that it fails in", id))
		}
	}
	return out
}

// The codes of package judge that every check has.
const (
	codeOK     = "ok"
	codeNoData = "no-data" // broken
)
