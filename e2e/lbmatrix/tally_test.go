// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package lbmatrix

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

func TestNothingAssessedIsNoPass(t *testing.T) {
	var n tally
	require.ErrorContains(t, n.check(), "matches no check")
	n.add(judge.ResultUnsupported)
	require.ErrorContains(t, n.check(), "could run here")
	n.add(judge.ResultPassed)
	require.NoError(t, n.check())
}

func TestFailedDeleteIsTold(t *testing.T) {
	green := report.Suite{Scenario: "s", Cells: []judge.Cell{{Check: "single-responder", Result: judge.ResultPassed}}}
	require.Empty(t, asAWhole(report.Matrix{Suites: []report.Suite{green}}))
	green.NotRun = "step delete failed: network in use"
	got := asAWhole(report.Matrix{Suites: []report.Suite{green}})
	require.Len(t, got, 1)
	require.NotContains(t, []string{report.GoTestOK, report.GoTestSkip}, report.GoTest(got[0].Result))
	require.Len(t, asAWhole(report.Matrix{Run: report.Run{Interrupted: true}, Suites: []report.Suite{{Scenario: "s", Cells: green.Cells}}}), 1)
}
