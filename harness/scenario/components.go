// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"fmt"
	"slices"
)

// UsesComponent is an error where no scenario has a component: a build or a version that
// nothing runs would pass for one that was tested. It suggests the components there are,
// and what else may be named there.
func UsesComponent(all []*Scenario, name string, also ...string) error {
	known := slices.Clone(also)
	for _, sc := range all {
		for _, c := range sc.Spec.Components {
			if c.Name == name {
				return nil
			}
			if !slices.Contains(known, c.Name) {
				known = append(known, c.Name)
			}
		}
	}
	return fmt.Errorf("no scenario of this run has a component %q; %s", name, Suggest(name, known))
}
