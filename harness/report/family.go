// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report

import "github.com/lbmatrix/lbmatrix/harness/judge"

const (
	// familyRun holds what is said of a scenario as a whole.
	familyRun = "run"
	// familyOther holds checks that the catalogue does not know, for instance those of
	// a newer lbmatrix whose folder is rendered here.
	familyOther = "other"
)

// place says where a check's row belongs: its family and its rank.
type place struct {
	family string
	rank   int
}

// places arranges the catalogue's checks by family, both in the catalogue's order. It
// only arranges rows: a check missing here is shown all the same.
func places() map[string]place {
	checks := judge.Checks()
	families := map[string]int{}
	for _, c := range checks {
		if _, ok := families[c.Family]; !ok {
			families[c.Family] = len(families)
		}
	}
	out := map[string]place{CheckScenarioRan: {familyRun, -1}}
	for i, c := range checks {
		out[c.ID] = place{c.Family, families[c.Family]*len(checks) + i}
	}
	return out
}
