// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lbmatrix/lbmatrix/harness/judge"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 12: "12", -3: "-3", 0.4123456: "0.4123", 1.0571: "1.057", 99.999: "100", 123.456: "123.5",
		4321.7: "4322", 0.00123456: "0.001235", 0.000012: "1.2e-05", 1e20: "1e+20", 0.5: "0.5",
	} {
		assert.Equal(t, want, number(v))
	}
}

func TestSplitFigures(t *testing.T) {
	f := func(name string, n int64) judge.Figure { return judge.Figure{Name: name, Unit: "ms", N: n, Value: 1} }
	ds, rest := splitFigures(judge.Cell{Check: "c", Verdict: judge.Verdict{Figures: []judge.Figure{
		f("p50", 10), f("p99.9", 10), f("vip/p50", 10), f("vip max", 10), f("climax", 10), f("p50", 10), f("p90", 20), f("rate", 1),
	}}})
	var series []string
	for _, d := range ds {
		series = append(series, d.series)
	}
	assert.Equal(t, []string{"", "vip"}, series)
	assert.Len(t, ds[0].values, 2)
	assert.Len(t, ds[1].values, 2)
	var names []string
	for _, f := range rest {
		names = append(names, f.Name)
	}
	assert.Equal(t, []string{"climax", "p50", "p90", "rate"}, names, "neither a second p50 nor a lone p90 of another n is lost")
}
