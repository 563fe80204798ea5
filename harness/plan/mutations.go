// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// Mutations says which of its mutations a scenario is put through. The zero value is all.
type Mutations struct {
	None bool     `json:"none,omitempty"`
	Only []string `json:"only,omitempty"` // their names; a scenario may have some of them, or none
}

// Check returns an error where both are asked for, or where Only names what no scenario has:
// a run without it would be taken for a proof of it.
func (m Mutations) Check(all []*scenario.Scenario) error {
	if m.None && len(m.Only) > 0 {
		return errors.New("either some mutations, or none of them")
	}
	var there []string
	for _, sc := range all {
		for _, mutation := range sc.Spec.Mutations {
			there = append(there, mutation.Name)
		}
	}
	slices.Sort(there)
	there = slices.Compact(there)
	var errs []error
	for _, name := range m.Only {
		switch {
		case slices.Contains(there, name):
		case len(there) == 0:
			errs = append(errs, fmt.Errorf("the scenarios have no mutations: %q", name))
		default:
			errs = append(errs, fmt.Errorf("none of the scenarios has a mutation %q; %s", name, scenario.Suggest(name, there)))
		}
	}
	return errors.Join(errs...)
}

// Of is what is left to say to a run of one scenario.
func (m Mutations) Of(sc *scenario.Scenario) Mutations {
	if len(m.Only) == 0 {
		return m
	}
	var own []string
	for _, mutation := range sc.Spec.Mutations {
		if slices.Contains(m.Only, mutation.Name) {
			own = append(own, mutation.Name)
		}
	}
	return Mutations{None: len(own) == 0, Only: own}
}

// leftOut says why a mutation does not run; "" is that it does.
func (m Mutations) leftOut(name string) string {
	if m.None || len(m.Only) > 0 && !slices.Contains(m.Only, name) {
		return name + " was left out (--mutations, --skip-mutations): nothing shows that the checks would see it"
	}
	return ""
}
