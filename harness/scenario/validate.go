// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"fmt"
	"net/netip"

	"go.yaml.in/yaml/v3"
)

// validate finds what no field shows alone. The defaults must be filled in.
func (l *loader) validate(s *Scenario) {
	l.subnets(s.Spec.Cluster)
	components := map[string]*yaml.Node{}
	for i, c := range s.Spec.Components {
		l.unique(components, c.Name, fmt.Sprintf("spec.components[%d].name", i), "component")
	}
	mutations := map[string]*yaml.Node{}
	for i, m := range s.Spec.Mutations {
		l.unique(mutations, m.Name, fmt.Sprintf("spec.mutations[%d].name", i), "mutation")
		l.expectations(m, fmt.Sprintf("spec.mutations[%d]", i))
	}
}

// subnets refuses pods and Services in one another's addresses.
func (l *loader) subnets(c Cluster) {
	pods, err := netip.ParsePrefix(c.PodSubnet)
	services, err2 := netip.ParsePrefix(c.ServiceSubnet)
	if err != nil || err2 != nil || !pods.Overlaps(services) {
		return
	}
	field, other := "spec.cluster.serviceSubnet", "podSubnet "+c.PodSubnet
	if l.at[field] == nil {
		field, other = "spec.cluster.podSubnet", "serviceSubnet "+c.ServiceSubnet
		if l.at[field] == nil {
			return
		}
	}
	l.report(l.at[field], field+" overlaps "+other, "choose networks that share no address")
}

// expectations refuses a check that is both what must catch a mutation and a mere
// consequence of it, or that is named twice: its cell could not be told.
func (l *loader) expectations(m Mutation, path string) {
	checks := map[string]*yaml.Node{}
	for i, e := range m.Expect {
		l.unique(checks, e.Check, fmt.Sprintf("%s.expect[%d].check", path, i), "check")
	}
	for i, e := range m.Expect {
		consequences := map[string]*yaml.Node{}
		for j, check := range e.Consequences {
			at := fmt.Sprintf("%s.expect[%d].consequences[%d]", path, i, j)
			if catcher := checks[check]; check != "" && catcher != nil && l.at[at] != nil {
				l.report(l.at[at], fmt.Sprintf("%s: check %q must catch this mutation already", at, clip(check)),
					fmt.Sprintf("remove it here or at line %d", catcher.Line))
				continue
			}
			l.unique(consequences, check, at, "consequence")
		}
	}
}

// unique reports a name that was there before.
func (l *loader) unique(first map[string]*yaml.Node, name, path, what string) {
	at := l.at[path]
	if name == "" || at == nil {
		return // reported where it was decoded
	}
	if before := first[name]; before != nil {
		l.report(at, fmt.Sprintf("%s: %s %q is there twice", path, what, clip(name)),
			fmt.Sprintf("it was written at line %d first", before.Line))
		return
	}
	first[name] = at
}
