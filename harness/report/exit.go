// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report

import "github.com/lbmatrix/lbmatrix/harness/judge"

// The exit codes of the command line. Of several that apply, the order is broken,
// failed, not run, ok: a red check in a broken run is no trustworthy red.
const (
	ExitOK     = 0 // everything that ran is green
	ExitFailed = 1 // a check failed, or a known-bad was missed
	ExitUsage  = 2 // the command line or a scenario is wrong; never from a matrix
	ExitBroken = 3 // the harness or a cluster failed, or the run was interrupted
	ExitNotRun = 4 // what was asked for did not run
)

// ExitCode is the exit code of a matrix. named says that scenarios were named on the
// command line: one of them that did not run is then worth an exit code of its own,
// where in a sweep over all scenarios it is ordinary.
func ExitCode(m Matrix, named bool) int {
	ran := map[string]bool{} // by scenario: a guest may run what the host could not
	failed, anything := false, false
	for _, s := range m.AllSuites() {
		did := false
		for _, c := range s.AllCells() {
			row := RowOf(c.Result)
			if row.Exit == ExitBroken {
				return ExitBroken
			}
			failed = failed || row.Exit == ExitFailed
			did = did || row.Ran
		}
		// Verdicts that were reached before a scenario was given up do not make it one
		// that was run.
		did = did && s.NotRun == ""
		ran[s.Scenario] = ran[s.Scenario] || did
		anything = anything || did
	}
	switch {
	case failed:
		return ExitFailed
	case !anything:
		return ExitNotRun
	}
	for _, did := range ran {
		if named && !did {
			return ExitNotRun
		}
	}
	return ExitOK
}

// Count is how many cells of a matrix have each result.
func Count(m Matrix) map[judge.Result]int {
	n := map[judge.Result]int{}
	for _, s := range m.AllSuites() {
		for _, c := range s.AllCells() {
			n[RowOf(c.Result).Result]++
		}
	}
	return n
}

// exitWord names an exit code in a headline.
func exitWord(code int) string {
	switch code {
	case ExitOK:
		return "passed"
	case ExitFailed:
		return "FAILED"
	case ExitNotRun:
		return "NOT RUN"
	}
	return "BROKEN"
}
