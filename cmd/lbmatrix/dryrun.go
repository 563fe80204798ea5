// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// planned is what a run of a scenario would do.
type planned struct {
	Scenario   string             `json:"scenario"`
	Provider   string             `json:"provider"`
	Kubernetes string             `json:"kubernetes"`
	Workers    int                `json:"workers"`
	CNI        string             `json:"cni"`
	Source     string             `json:"source"`
	Components []plannedComponent `json:"components"`
	Steps      []string           `json:"steps"`
}

type plannedComponent struct {
	Name      string            `json:"name"`
	Version   string            `json:"version"`
	Namespace string            `json:"namespace"`
	Values    map[string]any    `json:"values,omitempty"`
	OwnChart  string            `json:"ownChart,omitempty"`
	OwnImages map[string]string `json:"ownImages,omitempty"`
}

func planOf(sc *scenario.Scenario, f runFlags, from runner.From) planned {
	c := sc.Spec.Cluster
	p := planned{
		Scenario: sc.Metadata.Name, Provider: c.Provider, Kubernetes: c.Kubernetes, Workers: c.Workers, CNI: string(c.CNI),
		Source: string(from.Source), Steps: plan.Steps(sc, f.mutations),
	}
	for _, c := range sc.Spec.Components {
		pc := plannedComponent{Name: c.Name, Version: c.Version, Namespace: c.Namespace, Values: c.Values, OwnChart: from.Own.Charts[c.Name]}
		for _, i := range from.Own.Images {
			if i.Component == c.Name {
				if pc.OwnImages == nil {
					pc.OwnImages = map[string]string{}
				}
				pc.OwnImages[i.Image] = i.From
			}
		}
		p.Components = append(p.Components, pc)
	}
	return p
}

// printPlan says what a run would do, and does nothing of it.
func (a *app) printPlan(all []*scenario.Scenario, f runFlags, from runner.From) error {
	var out []planned
	for _, sc := range all {
		out = append(out, planOf(sc, f, from))
	}
	if f.format == "json" {
		return a.printJSON(out)
	}
	for _, p := range out {
		fmt.Fprintf(a.stdout, "%s\n  cluster: %s, Kubernetes %s, %d workers, CNI %s, components from %s\n",
			p.Scenario, p.Provider, p.Kubernetes, p.Workers, p.CNI, p.Source)
		for _, c := range p.Components {
			fmt.Fprintf(a.stdout, "  component: %s %s in %s\n", c.Name, c.Version, c.Namespace)
			for _, image := range slices.Sorted(maps.Keys(c.OwnImages)) {
				fmt.Fprintf(a.stdout, "    own image %s/%s: %s\n", c.Name, image, c.OwnImages[image])
			}
			if c.OwnChart != "" {
				fmt.Fprintf(a.stdout, "    own chart %s: %s\n", c.Name, c.OwnChart)
			}
			if len(c.Values) > 0 {
				values, err := json.Marshal(c.Values)
				if err != nil {
					return failed(fmt.Errorf("print plan: %w", err))
				}
				fmt.Fprintf(a.stdout, "    values: %s\n", values)
			}
		}
		for i, s := range p.Steps {
			fmt.Fprintf(a.stdout, "  %2d %s\n", i+1, s)
		}
	}
	return nil
}
