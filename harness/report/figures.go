// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/judge"
)

// percentiles are the figures that are shown side by side, in this order.
func percentiles() []string { return []string{"p50", "p90", "p99", "p99.9", "max"} }

// distribution is the percentiles of one measurement.
type distribution struct {
	check, series string // series tells several distributions of one check apart
	unit, method  string
	n             int64
	values        map[string]float64 // by percentile
}

// series is what percentiles must share to be of one distribution.
type series struct {
	name, unit, method string
	n                  int64
}

// splitFigures sorts a cell's figures into distributions and the rest. A figure
// belongs to a distribution when its name is a percentile or ends in one after a
// separator, as in "vip/p99.9", and another one is of the same series.
func splitFigures(c judge.Cell) (ds []distribution, rest []judge.Figure) {
	members := map[series]int{}
	for _, f := range c.Verdict.Figures {
		if name, _, ok := percentileOf(f.Name); ok {
			members[series{name, f.Unit, f.Method, f.N}]++
		}
	}
	at := map[series]int{}
	for _, f := range c.Verdict.Figures {
		name, p, ok := percentileOf(f.Name)
		k := series{name, f.Unit, f.Method, f.N}
		if !ok || members[k] < 2 {
			rest = append(rest, f)
			continue
		}
		i, seen := at[k]
		if !seen {
			i = len(ds)
			at[k] = i
			ds = append(ds, distribution{c.Check, name, f.Unit, f.Method, f.N, map[string]float64{}})
		}
		if _, twice := ds[i].values[p]; twice {
			rest = append(rest, f) // shown, rather than lost behind the other
			continue
		}
		ds[i].values[p] = f.Value
	}
	return ds, rest
}

// percentileOf splits a figure's name into its series and its percentile.
func percentileOf(name string) (series, percentile string, ok bool) {
	for _, p := range percentiles() {
		if name == p {
			return "", p, true
		}
		if prefix, found := strings.CutSuffix(name, p); found && strings.ContainsAny(prefix[len(prefix)-1:], " /-_.") {
			return prefix[:len(prefix)-1], p, true
		}
	}
	return "", "", false
}

// number writes a figure for people: four significant digits, no exponent where one
// can be avoided.
func number(v float64) string {
	switch a := math.Abs(v); {
	case v == math.Trunc(v) && a < 1e15:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case a >= 1000 && a < 1e15:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 1e-3 && a < 1000:
		digits := 3 - int(math.Floor(math.Log10(a)))
		s := strconv.FormatFloat(v, 'f', max(digits, 0), 64)
		if strings.Contains(s, ".") {
			s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
		}
		return s
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// figureText is a figure on one line.
func figureText(f judge.Figure) string {
	s := fmt.Sprintf("%s = %s", f.Name, number(f.Value))
	if f.Unit != "" {
		s += " " + f.Unit
	}
	s += fmt.Sprintf(" (n=%d", f.N)
	if f.Method != "" {
		s += ", " + f.Method
	}
	return s + ")"
}
