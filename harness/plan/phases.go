// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan

import (
	"slices"

	"github.com/lbmatrix/lbmatrix/harness/fault"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// Phases lists what a scenario is judged by, in order: the healthy baseline by every
// check, and each mutation by its catchers and their consequences, once broken and
// once restored; and where the restoration makes VIPs change hands, by how they do.
// Mutations that are left out are planned as skipped: that they did not run is told, for
// without them nothing shows that the checks can fail.
func Phases(sc *scenario.Scenario, chosen Mutations) []journal.PlannedPhase {
	applicable := judge.For(*sc)
	phases := []journal.PlannedPhase{{Name: journal.PhaseBaseline, Checks: applicable, Expect: expectations(sc.Spec.Expect)}}
	for _, m := range sc.Spec.Mutations {
		concerned := map[string]bool{}
		expect := expectations(m.Expect)
		for _, e := range expect {
			concerned[e.Check] = true
			for _, c := range e.Consequences {
				concerned[c] = true
			}
		}
		var checks []string
		for _, id := range applicable {
			if concerned[id] {
				checks = append(checks, id)
			}
		}
		again, skipped := slices.Clone(checks), chosen.leftOut(m.Name)
		if fault.TakesOver(m.Name) {
			again = append(again, judge.OnTakeover()...)
		}
		phases = append(phases,
			journal.PlannedPhase{Name: journal.MutationPhase(m.Name), Checks: checks, Expect: expect, Skipped: skipped},
			journal.PlannedPhase{Name: journal.RestoredPhase(m.Name), Checks: again, Skipped: skipped})
	}
	return phases
}

func expectations(all []scenario.Expectation) []journal.Expect {
	var out []journal.Expect
	for _, e := range all {
		out = append(out, journal.Expect{Check: e.Check, Code: e.Code, Consequences: e.Consequences})
	}
	return out
}

// Steps names a scenario's steps, in order.
func Steps(sc *scenario.Scenario, chosen Mutations) []string {
	steps := []string{"create"}
	for _, c := range sc.Spec.Components {
		steps = append(steps, "install "+c.Name)
	}
	steps = append(steps, "deploy")
	for _, p := range Phases(sc, chosen) {
		if p.Skipped == "" {
			steps = append(steps, p.Name)
		}
	}
	return append(steps, "collect", "delete")
}
