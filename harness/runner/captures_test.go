// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

func TestCapturesStayUnlessAllIsWell(t *testing.T) {
	cells := func(results ...judge.Result) (out []judge.Cell) {
		for _, r := range results {
			out = append(out, judge.Cell{Result: r})
		}
		return out
	}
	for _, test := range []struct {
		name  string
		suite report.Suite
		keep  plan.Keep
		stay  bool
	}{
		{"passed", report.Suite{Cells: cells(judge.ResultPassed, judge.ResultSkipped)}, plan.KeepNever, false},
		{"caught", report.Suite{Cells: cells(judge.ResultPassed, judge.ResultCaught, judge.ResultConsequence)}, plan.KeepOnFailure, false},
		{"kept", report.Suite{Cells: cells(judge.ResultPassed)}, plan.KeepAlways, true},
		{"failed", report.Suite{Cells: cells(judge.ResultPassed, judge.ResultFailed)}, plan.KeepNever, true},
		{"broken", report.Suite{Cells: cells(judge.ResultBroken)}, plan.KeepNever, true},
		{"missed", report.Suite{Cells: cells(judge.ResultMissed)}, plan.KeepNever, true},
		{"unknown", report.Suite{Cells: cells("new")}, plan.KeepNever, true},
		{"unsupported", report.Suite{Cells: cells(judge.ResultPassed, judge.ResultUnsupported)}, plan.KeepNever, true},
		{"not run", report.Suite{Cells: cells(judge.ResultPassed), NotRun: "killed"}, plan.KeepNever, true},
		{"nothing judged", report.Suite{}, plan.KeepNever, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, capturesFolder, "reply-path-1.pcapng")
			require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
			require.NoError(t, os.WriteFile(file, nil, 0o600))
			require.NoError(t, dropCaptures(test.suite, dir, test.keep))
			_, err := os.Stat(file)
			require.Equal(t, test.stay, err == nil)
		})
	}
	require.NoError(t, dropCaptures(report.Suite{Cells: cells(judge.ResultPassed)}, t.TempDir(), plan.KeepNever), "nothing to remove")
}
