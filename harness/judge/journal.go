// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// Journal judges everything that a journal says was planned. It is a pure function
// of the journal: an old folder gives the same cells as the run that wrote it.
func Journal(j *journal.Journal) ([]Cell, error) {
	var sc scenario.Scenario
	if err := json.Unmarshal(j.Header.Spec, &sc); err != nil {
		return nil, fmt.Errorf("judge %s: decode the scenario in the journal: %w", j.Header.Scenario, err)
	}
	var cells []Cell
	green := map[string]bool{} // checks that passed on the baseline
	unhealed := ""             // the first cell that a restored phase left red
	red := ""                  // the first check that is red on the baseline
	for _, phase := range j.Header.Phases {
		facts := j.Phase(phase.Name)
		for _, id := range phase.Checks {
			cell := judgeCell(j, facts, sc, phase, id)
			switch {
			case phase.Name == journal.PhaseBaseline:
				green[id] = cell.Result == ResultPassed
				if red == "" && cell.Result.Red() {
					red = id
				}
			case cell.Result == ResultSkipped:
			case j.Refused(phase.Name) != "":
				cell = notBroken(cell, j.Refused(phase.Name), red)
			case strings.HasPrefix(phase.Name, journal.PrefixRestored):
				if unhealed == "" && cell.Result != ResultPassed {
					unhealed = phase.Name + "/" + id
				}
			// A detector that was red before the fault has caught nothing.
			case cell.Result == ResultCaught && !green[id]:
				cell = disprove(cell, "baseline-not-green", "the check had not passed on the baseline")
			case cell.Result == ResultCaught && unhealed != "":
				cell = disprove(cell, "restored-not-green", unhealed+" had not passed before this fault")
			}
			cells = append(cells, cell)
		}
	}
	return cells, nil
}

// notBroken is a cell of a fault that was refused, because the segment was not healthy.
// Where the baseline is red that is why, and the red cell is the news; where it is green
// nobody knows what happened in between.
func notBroken(cell Cell, why, red string) Cell {
	if red == "" {
		cell.Result, cell.Verdict = ResultBroken, broken(fmt.Errorf("the fault was not applied: %s", why))
		return cell
	}
	cell.Result = ResultSkipped
	cell.Verdict = Verdict{Outcome: Skipped, Code: "not-run", Message: fmt.Sprintf("the fault was not applied: %s; see baseline/%s", why, red)}
	return cell
}

// disprove turns a catch into a broken cell: the fault need not be why the check is red.
func disprove(cell Cell, code, why string) Cell {
	cell.Result = ResultBroken
	cell.Verdict.Outcome, cell.Verdict.Code = Broken, code
	cell.Verdict.Message = fmt.Sprintf("%s; but %s, so this proves nothing", cell.Verdict.Message, why)
	return cell
}

func judgeCell(j *journal.Journal, facts journal.Facts, sc scenario.Scenario, phase journal.PlannedPhase, id string) Cell {
	cell := Cell{Scenario: j.Header.Scenario, Phase: phase.Name, Check: id, Title: id, Where: j.Header.Where}
	consequence := false
	for _, e := range phase.Expect {
		if e.Check == id {
			cell.Expected = e.Code
		}
		consequence = consequence || slices.Contains(e.Consequences, id)
	}
	check, ok := Lookup(id)
	switch u := j.Unsupported(); {
	case u != nil:
		cell.Verdict = Verdict{
			Outcome: Unsupported, Code: "unsupported",
			Message: strings.Join(u.Missing, "; ") + ". " + u.Fix,
		}
	case phase.Skipped != "":
		cell.Verdict = Verdict{Outcome: Skipped, Code: CodeLeftOut, Message: phase.Skipped}
	case ok && !possible(j.Header.Machine, check):
		cell.Title, cell.Verdict = check.Title, notComparable(*j.Header.Machine)
	case !ok:
		cell.Verdict = broken(fmt.Errorf("this lbmatrix has no check %s", id))
	default:
		cell.Title = check.Title
		cell.Verdict, cell.ElapsedMS = judgeFacts(j, facts, sc, check)
	}
	cell.Result = Combine(cell.Verdict, cell.Expected, consequence)
	return cell
}

// judgeFacts runs a check, after it is sure that the phase is what its name says.
func judgeFacts(j *journal.Journal, facts journal.Facts, sc scenario.Scenario, check Check) (Verdict, int64) {
	var elapsed int64
	for _, id := range check.Needs {
		span, err := facts.Observation(id)
		if err != nil {
			return withReason(j, broken(err)), 0
		}
		elapsed += span.ElapsedMS
	}
	if err := facts.FaultsVerified(); err != nil {
		return broken(err), elapsed
	}
	v := check.Judge(facts, sc)
	if v.Outcome == Broken {
		v = withReason(j, v)
	}
	return v, elapsed
}

// withReason adds the step that failed to a verdict that lacks data.
func withReason(j *journal.Journal, v Verdict) Verdict {
	if s := j.Failure(); s != nil {
		v.Message += fmt.Sprintf(" (step %s failed: %s)", s.Name, s.Error)
	} else if j.Lost > 0 {
		v.Message += fmt.Sprintf(" (%d records of the journal are lost)", j.Lost)
	} else if !j.Ended {
		v.Message += " (the run was cut off)"
	}
	return v
}
