// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report

import "github.com/lbmatrix/lbmatrix/harness/judge"

// What a result is in JUnit.
const (
	JUnitPass    = "pass"
	JUnitFailure = "failure"
	JUnitError   = "error"
	JUnitSkipped = "skipped"
)

// What a result is under go test. An error fails the test too; it is told apart so
// that a broken harness does not read as a broken load balancer.
const (
	GoTestOK    = "ok"
	GoTestFail  = "fail"
	GoTestSkip  = "skip"
	GoTestError = "error"
)

// Row says what one result becomes everywhere it is shown.
type Row struct {
	Result judge.Result
	JUnit  string
	GoTest string
	Exit   int    // what one such cell makes of the exit code
	Ran    bool   // a check came to a verdict; where nothing did, the run is ExitNotRun
	Word   string // in matrix.md and on the terminal; capitals ask for attention
	Legend string
}

// rows is the one table from result to every output. All writers read it.
var rows = [...]Row{
	{judge.ResultPassed, JUnitPass, GoTestOK, ExitOK, true, "pass", "the check passed"},
	{judge.ResultFailed, JUnitFailure, GoTestFail, ExitFailed, true, "FAIL", "the check failed"},
	{judge.ResultBroken, JUnitError, GoTestError, ExitBroken, true, "BROKEN", "the harness or the cluster did not give the facts for a verdict"},
	{judge.ResultUnsupported, JUnitSkipped, GoTestSkip, ExitOK, false, "n/a", "not possible here; the reason says what is missing"},
	{judge.ResultSkipped, JUnitSkipped, GoTestSkip, ExitOK, false, "skip", "left out by choice"},
	{judge.ResultCaught, JUnitPass, GoTestOK, ExitOK, true, "caught", "known-bad, and the check said so with the expected code"},
	{judge.ResultMissed, JUnitFailure, GoTestFail, ExitFailed, true, "MISSED", "known-bad, and the check did not say so"},
	{judge.ResultConsequence, JUnitPass, GoTestOK, ExitOK, true, "conseq", "known-bad, and this failure is a listed consequence"},
}

// Table is the whole table, one row for each result.
func Table() []Row { return append([]Row(nil), rows[:]...) }

// RowOf is the row of a result. A result that nobody knows is shown as broken: what
// cannot be read must not pass.
func RowOf(r judge.Result) Row {
	for _, row := range rows {
		if row.Result == r {
			return row
		}
	}
	return RowOf(judge.ResultBroken)
}

// JUnit is what a result is in JUnit: one of the JUnit constants.
func JUnit(r judge.Result) string { return RowOf(r).JUnit }

// GoTest is what a result is under go test: one of the GoTest constants.
func GoTest(r judge.Result) string { return RowOf(r).GoTest }

// Word is the short word for a result in a matrix.
func Word(r judge.Result) string { return RowOf(r).Word }

// Explain says in one line why a cell came out as it did.
func Explain(c judge.Cell) string {
	v := c.Verdict
	switch c.Result {
	case judge.ResultPassed:
		return v.Message
	case judge.ResultCaught:
		return withMessage("caught: "+v.Code, v.Message)
	case judge.ResultMissed:
		if v.Outcome == judge.Passed {
			return withMessage("missed: expected "+c.Expected+", but the check passed", v.Message)
		}
		return withMessage("missed: expected "+c.Expected+", got "+v.Code, v.Message)
	case judge.ResultConsequence:
		return withMessage("consequence: "+v.Code, v.Message)
	}
	return withMessage(v.Code, v.Message)
}

// withMessage joins a short reason and a sentence, either of which may be missing.
func withMessage(reason, message string) string {
	switch {
	case message == "":
		return reason
	case reason == "":
		return message
	}
	return reason + ": " + message
}
