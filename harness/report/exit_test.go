// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

// worse orders exit codes as design.md does: 3, 1, 4, 0.
func worse(a, b int) int {
	for _, code := range []int{3, 1, 4, 0} {
		if a == code || b == code {
			return code
		}
	}
	return -1
}

func TestExitCodeOfEveryTwoResults(t *testing.T) {
	table := want()
	for _, a := range allResults() {
		for _, b := range allResults() {
			t.Run(fmt.Sprintf("%s and %s", a, b), func(t *testing.T) {
				idle := table[a].named == 4 && table[b].named == 4
				together, either := worse(table[a].exit, table[b].exit), worse(table[a].named, table[b].named)
				if idle {
					together = 4
				}
				one := matrixOf(suiteOf("s", a, b))
				assert.Equal(t, together, report.ExitCode(one, false), "in one scenario")
				assert.Equal(t, together, report.ExitCode(one, true), "in one scenario, named: one cell that ran is enough")
				two := matrixOf(suiteOf("s", a), suiteOf("t", b))
				assert.Equal(t, together, report.ExitCode(two, false), "in two scenarios")
				assert.Equal(t, either, report.ExitCode(two, true), "in two scenarios, named")
				same := matrixOf(suiteOf("s", a), suiteOf("s", b))
				assert.Equal(t, together, report.ExitCode(same, true), "one scenario twice: it ran if either did")
			})
		}
	}
}

func TestExitCodeOfWhatIsMissing(t *testing.T) {
	green := suiteOf("green", judge.ResultPassed)
	red := suiteOf("red", judge.ResultFailed)
	unsupported := report.Suite{Scenario: "u", NotRun: "no BPF", Unsupported: true}
	skipped := report.Suite{Scenario: "k", NotRun: "--skip", Skipped: true}
	interrupted := matrixOf(green)
	interrupted.Run.Interrupted = true
	cut := suiteOf("cut", judge.ResultPassed)
	cut.NotRun, cut.Skipped = "fail fast", true
	for name, c := range map[string]struct {
		m            report.Matrix
		named, sweep int
	}{
		"empty matrix":                {report.Matrix{}, 3, 3},
		"suite without cells":         {matrixOf(green, report.Suite{Scenario: "s"}), 3, 3},
		"could not start":             {matrixOf(green, report.Suite{Scenario: "s", NotRun: "no disk"}), 3, 3},
		"interrupted":                 {interrupted, 3, 3},
		"unsupported beside green":    {matrixOf(green, unsupported), 4, 0},
		"skipped beside green":        {matrixOf(green, skipped), 4, 0},
		"unsupported beside red":      {matrixOf(red, unsupported), 1, 1},
		"only unsupported":            {matrixOf(unsupported), 4, 4},
		"only unsupported, no reason": {matrixOf(report.Suite{Scenario: "u", Unsupported: true}), 4, 4},
		"only skipped":                {matrixOf(skipped), 4, 4},
		"given up half way by choice": {matrixOf(cut, green), 4, 0},
		"broken beats failed":         {matrixOf(red, report.Suite{Scenario: "s", NotRun: "no disk"}), 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.named, report.ExitCode(c.m, true), "named")
			assert.Equal(t, c.sweep, report.ExitCode(c.m, false), "not named")
			// What makes the exit code must also show in JUnit, or CI is green where we are not.
			n := report.JUnitDocument(c.m).Totals()
			assert.Equal(t, c.sweep == 3, n.Errors > 0, "errors in JUnit")
			assert.Equal(t, c.named == 4, n.Skipped > 0 && n.Errors+n.Failures == 0, "skipped in JUnit")
		})
	}
}
