// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package judge turns the facts of a journal into verdicts. Every check is a pure
// function: the same journal gives the same verdicts, here and anywhere else.
package judge

// Outcome is how a check came out.
type Outcome string

// The outcomes. Broken means that the harness or the cluster failed to give the
// facts a verdict needs: missing data is never a pass.
const (
	Passed      Outcome = "passed"
	Failed      Outcome = "failed"
	Broken      Outcome = "broken"
	Unsupported Outcome = "unsupported"
	Skipped     Outcome = "skipped"
)

// Verdict is what a check says of a phase.
type Verdict struct {
	Outcome  Outcome   `json:"outcome"`
	Code     string    `json:"code"`              // machine-readable reason, for example responders=3
	Message  string    `json:"message"`           // one line for people
	Figures  []Figure  `json:"figures,omitempty"` // what was measured
	Findings []Finding `json:"findings,omitempty"`
}

// Figure is one measured number. N is the sample size, Method how it was got.
type Figure struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	N      int64   `json:"n"`
	Method string  `json:"method"`
}

// Finding is a fact about a component that is worth telling and has no effect on
// the outcome.
type Finding struct {
	Component string `json:"component"`
	Message   string `json:"message"`
}

// Result is a cell's result once it is known what the check was expected to say.
type Result string

// The results of a cell. Caught and Missed exist only where a check was expected to
// fail; Consequence is a failure that the expectation lists.
const (
	ResultPassed      Result = "passed"
	ResultFailed      Result = "failed"
	ResultBroken      Result = "broken"
	ResultUnsupported Result = "unsupported"
	ResultSkipped     Result = "skipped"
	ResultCaught      Result = "caught"
	ResultMissed      Result = "missed"
	ResultConsequence Result = "consequence"
)

// CodeLeftOut is the code of what was skipped because it was not asked for.
const CodeLeftOut = "skipped"

// Cell is one place of the matrix: a check in a phase of a scenario.
type Cell struct {
	Scenario  string  `json:"scenario"`
	Phase     string  `json:"phase"`
	Check     string  `json:"check"`
	Title     string  `json:"title"`
	Expected  string  `json:"expected,omitempty"` // code a known-bad phase expects of this check
	Result    Result  `json:"result"`
	Verdict   Verdict `json:"verdict"`
	Where     string  `json:"where"`     // host or guest
	ElapsedMS int64   `json:"elapsedMS"` // of the observations the check needs
}

// Result combines a verdict with what was expected of the check.
// expected is the code a known-bad phase wants from this check ("" for an ordinary
// check); consequence says that a failure is listed as a consequence.
func Combine(v Verdict, expected string, consequence bool) Result {
	switch v.Outcome {
	case Passed:
		if expected != "" {
			return ResultMissed
		}
		return ResultPassed
	case Failed:
		switch {
		case expected != "" && v.Code == expected:
			return ResultCaught
		case expected != "":
			return ResultMissed
		case consequence:
			return ResultConsequence
		}
		return ResultFailed
	case Unsupported:
		return ResultUnsupported
	case Skipped:
		return ResultSkipped
	}
	return ResultBroken
}

// Red says that the result fails a run that is otherwise sound.
func (r Result) Red() bool { return r == ResultFailed || r == ResultMissed }
