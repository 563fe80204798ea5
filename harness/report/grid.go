// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report

import (
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
)

// grid is the matrix as rows of checks and columns of phases, for people.
type grid struct {
	columns []column
	rows    []gridRow
}

// column is one phase of one suite.
type column struct {
	suite int
	label string // of the suite
	phase string
}

// gridRow is one check. A column without the check is an empty string.
type gridRow struct {
	family string
	check  string
	words  []string
}

// newGrid arranges a matrix: columns as they ran, rows as the catalogue has them. A known-bad
// phase that nobody asked for has no column: the reasons below the matrix name it.
func newGrid(m Matrix) grid {
	var g grid
	type at struct {
		suite int
		phase string
	}
	asked := map[at]bool{}
	eachCell(m, func(i int, _ Suite, c judge.Cell) {
		k := at{i, phaseOf(c)}
		asked[k] = asked[k] || c.Result != judge.ResultSkipped || c.Verdict.Code != judge.CodeLeftOut || k.phase == journal.PhaseBaseline
	})
	columns, rows := map[at]int{}, map[string]int{}
	known := places()
	eachCell(m, func(i int, s Suite, c judge.Cell) {
		k := at{i, phaseOf(c)}
		if !asked[k] {
			return
		}
		if _, ok := columns[k]; !ok {
			columns[k] = len(g.columns)
			g.columns = append(g.columns, column{i, s.Label(), k.phase})
		}
		if _, ok := rows[c.Check]; !ok {
			rows[c.Check] = len(g.rows)
			family := familyOther
			if p, ok := known[c.Check]; ok {
				family = p.family
			}
			g.rows = append(g.rows, gridRow{family: family, check: c.Check})
		}
	})
	for i := range g.rows {
		g.rows[i].words = make([]string, len(g.columns))
	}
	eachCell(m, func(i int, _ Suite, c judge.Cell) {
		column, ok := columns[at{i, phaseOf(c)}]
		if !ok {
			return
		}
		word := &g.rows[rows[c.Check]].words[column]
		if *word != "" {
			*word += "/" // the same check twice in a phase: both show
		}
		*word += Word(c.Result)
	})
	slices.SortStableFunc(g.rows, func(a, b gridRow) int {
		pa, oka := known[a.check]
		pb, okb := known[b.check]
		switch {
		case oka && okb:
			return pa.rank - pb.rank
		case oka:
			return -1
		case okb:
			return 1
		}
		return strings.Compare(a.check, b.check)
	})
	return g
}

// eachCell visits every cell of a matrix in order, with the number of its suite.
func eachCell(m Matrix, visit func(i int, s Suite, c judge.Cell)) {
	for i, s := range m.AllSuites() {
		for _, c := range s.AllCells() {
			visit(i, s, c)
		}
	}
}

// phaseOf is a cell's phase; one without is of the baseline.
func phaseOf(c judge.Cell) string { return orElse(c.Phase, journal.PhaseBaseline) }

// usedRows are the rows of the table that a matrix needs in its legend.
func usedRows(m Matrix) []Row {
	n := Count(m)
	return slices.DeleteFunc(Table(), func(r Row) bool { return n[r.Result] == 0 })
}
