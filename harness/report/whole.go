// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report

import (
	"strconv"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
)

// CheckScenarioRan is the cell that stands for a scenario as a whole. It exists only
// where there is something to say: the scenario did not run, or left no verdict.
const CheckScenarioRan = "scenario-ran"

// runSuite is the suite that stands for the run as a whole.
const runSuite = "lbmatrix-run"

// AllCells are the cells of a suite and, where the scenario did not run or left no
// verdict, one that says so. Every writer and the exit code read these, so that what
// is missing shows everywhere.
func (s Suite) AllCells() []judge.Cell {
	v := judge.Verdict{Outcome: judge.Broken, Code: "not-run", Message: s.NotRun}
	switch {
	case s.NotRun == "" && len(s.Cells) > 0:
		return s.Cells
	case s.NotRun == "" && s.Unsupported:
		v = judge.Verdict{Outcome: judge.Unsupported, Code: "unsupported", Message: "not supported here; no reason was given"}
	case s.NotRun == "":
		v.Code, v.Message = "no-verdicts", "no check was judged, and no reason was given"
	case s.Unsupported:
		v.Outcome, v.Code = judge.Unsupported, "unsupported"
	case s.Skipped:
		v.Outcome, v.Code = judge.Skipped, judge.CodeLeftOut
	}
	cell := judge.Cell{
		Scenario: s.Scenario, Phase: journal.PhaseBaseline,
		Check: CheckScenarioRan, Title: "The scenario ran to its end",
		Result: judge.Combine(v, "", false), Verdict: v, Where: s.Where,
	}
	return append(append(make([]judge.Cell, 0, len(s.Cells)+1), s.Cells...), cell)
}

// AllSuites are the suites of a matrix and, where the run was interrupted or holds no
// scenario at all, one that says so.
func (m Matrix) AllSuites() []Suite {
	reason := ""
	switch {
	case m.Run.Interrupted:
		reason = "the run was interrupted; scenarios may be missing"
	case len(m.Suites) == 0:
		reason = "the run holds no scenario"
	default:
		return m.Suites
	}
	s := Suite{Scenario: runSuite, Title: "The run as a whole", Started: m.Run.Started, NotRun: reason}
	return append(append(make([]Suite, 0, len(m.Suites)+1), m.Suites...), s)
}

// Label names a suite so that it can be told from others of the same scenario. What
// is ordinary, the first attempt on the host, adds nothing: CI keeps history by name.
func (s Suite) Label() string {
	label := s.Scenario
	if s.Where != "" && s.Where != "host" {
		label += "@" + s.Where
	}
	if s.Attempt > 1 {
		label += "#" + strconv.Itoa(s.Attempt)
	}
	return label
}

// runOf is the run a suite is from: in a merged matrix one of its parts.
func (m Matrix) runOf(s Suite) Run {
	for _, p := range m.Run.Parts {
		if s.Run != "" && p.ID == s.Run {
			return p
		}
	}
	return m.Run
}

// runs are the runs a matrix is made of.
func (m Matrix) runs() []Run {
	if len(m.Run.Parts) > 0 {
		return m.Run.Parts
	}
	return []Run{m.Run}
}

// labelLegend explains what labels say beyond the scenario, where some do.
func (m Matrix) labelLegend() string {
	var parts []string
	for _, s := range m.Suites {
		if s.Where != "" && s.Where != "host" {
			parts = append(parts, "@ says where it ran, if not on the host")
			break
		}
	}
	for _, s := range m.Suites {
		if s.Attempt > 1 {
			parts = append(parts, "# numbers the attempts after the first")
			break
		}
	}
	return strings.Join(parts, "; ")
}

// elapsed is how long a run took, 0 while that is unknown.
func (r Run) elapsed() time.Duration {
	if r.Started.IsZero() || r.Ended.Before(r.Started) {
		return 0
	}
	return r.Ended.Sub(r.Started)
}
