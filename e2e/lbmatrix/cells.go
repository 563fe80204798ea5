// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package lbmatrix

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

// cellName is a cell's name as a test: the check alone on the baseline.
func cellName(phase, check string) string {
	if phase == journal.PhaseBaseline {
		return check
	}
	return phase + "/" + check
}

// asAWhole are the cells that stand for the run or a scenario as a whole.
func asAWhole(m report.Matrix) []judge.Cell {
	var out []judge.Cell
	for _, s := range m.AllSuites() {
		for _, c := range s.AllCells() {
			if c.Check == report.CheckScenarioRan {
				out = append(out, c)
			}
		}
	}
	return out
}

func find(m report.Matrix, phase, check string) judge.Cell {
	for _, s := range m.Suites {
		for _, c := range s.Cells {
			if c.Phase == phase && c.Check == check {
				return c
			}
		}
	}
	why := "the scenario gave no verdict for it"
	for _, s := range m.Suites {
		if s.NotRun != "" {
			why = s.NotRun
		}
	}
	return judge.Cell{
		Phase: phase, Check: check, Result: judge.ResultBroken,
		Verdict: judge.Verdict{Outcome: judge.Broken, Code: "no-data", Message: why},
	}
}

// tell says a cell's result in go test's words, by the one table.
func tell(t *testing.T, c judge.Cell) {
	t.Helper()
	text := report.Explain(c)
	var figures []string
	for _, f := range c.Verdict.Figures {
		figures = append(figures, fmt.Sprintf("%s = %.4g %s (n=%d)", f.Name, f.Value, f.Unit, f.N))
	}
	if len(figures) > 0 {
		text += "\n" + strings.Join(figures, "\n")
	}
	switch report.GoTest(c.Result) {
	case report.GoTestOK:
		t.Log(text)
	case report.GoTestSkip:
		t.Skip(text)
	default:
		t.Error(text)
	}
}
