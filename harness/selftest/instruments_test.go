// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package selftest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/judge"
)

// A figure is held to the truth, and to no more than the machine lets it be known.
func TestFigures(t *testing.T) {
	w := World{Name: "w", Want: map[string]string{loadP99: codeOK, watchARP: codeOK}}
	for _, test := range []struct {
		name             string
		measured, waited time.Duration
		got, word        string
	}{
		{"exact", 100 * time.Millisecond, 0, codeOK, wordPass},
		{"as far as allowed", 95 * time.Millisecond, 0, codeOK, wordPass},
		{"right on a busy machine", 104 * time.Millisecond, time.Second, codeOK, wordPass},
		{"short", 94 * time.Millisecond, 0, codeOff, wordWrong},
		{"long", 106 * time.Millisecond, 0, codeOff, wordWrong},
		{"long on a busy machine", 125 * time.Millisecond, 10 * time.Millisecond, codeOff, wordBusy},
		{"longer than that makes it", 126 * time.Millisecond, 10 * time.Millisecond, codeOff, wordWrong},
	} {
		cells := w.figures([]reading{{id: loadP99, truth: 100 * time.Millisecond, measured: test.measured, allowed: 5 * time.Millisecond}})
		require.Len(t, cells, 2, "each that is asked")
		c := cells[0]
		if test.waited > 0 {
			c.doubt(test.waited)
			cells[1].doubt(test.waited)
		}
		require.Equal(t, [3]string{loadP99, test.got, test.word}, [3]string{c.Check, c.Got, c.word()}, test.name)
		require.Equal(t, test.got == codeOK, c.OK && c.Outcome == judge.Passed, test.name)
		require.Equal(t, [3]string{watchARP, "no-figure", wordWrong}, [3]string{cells[1].Check, cells[1].Got, cells[1].word()}, "also on a busy machine")
	}
}

// One reading that is off is not held against an instrument, two are.
func TestMiddleOfReadings(t *testing.T) {
	w := World{Name: "w", Want: map[string]string{loadP99: codeOK}}
	// The truth of each reading is its own: 100 ms, 110 ms, and so on.
	read := func(ms ...int) Cell {
		var measured [][]Cell
		for i, m := range ms {
			truth := time.Duration(100+10*i) * time.Millisecond
			r := reading{id: loadP99, truth: truth, measured: truth + time.Duration(m-100)*time.Millisecond, allowed: 5 * time.Millisecond}
			if m == 0 {
				r.wrong = "no-figure"
			}
			measured = append(measured, w.figures([]reading{r}))
		}
		cells := middle(measured)
		require.Len(t, cells, 1)
		return cells[0]
	}
	for _, test := range []struct {
		readings []int
		want     string
	}{
		{[]int{100}, codeOK},
		{[]int{120, 101, 99}, codeOK},
		{[]int{80, 101, 99}, codeOK},
		{[]int{120, 100, 130}, codeOff},
		{[]int{80, 100, 90}, codeOff},
		{[]int{120, 100}, codeOff},
		{[]int{80, 100, 120}, codeOff},
		{[]int{0, 100, 100}, codeOK},
		{[]int{100, 0, 0}, "no-figure"},
	} {
		require.Equal(t, test.want, read(test.readings...).Got, test.readings)
	}
	require.Equal(t, 1*time.Millisecond, read(120, 101, 99).off())
	require.NotContains(t, read(100).Message, "middle")
	require.Contains(t, read(120, 101, 99).Message, "(the middle of 3 readings)")
}
