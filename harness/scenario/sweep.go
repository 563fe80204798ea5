// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// AxisKubernetes is the axis of Kubernetes' own version; every other one is a component's.
const AxisKubernetes = "kubernetes"

// Axis is a version that a sweep varies.
type Axis struct {
	Name     string   // AxisKubernetes, or a component's name
	Versions []string // in the order they were given
}

// ParseSweep reads axes as people write them: NAME=VERSION[,VERSION...], several of them
// in one text or in several. It returns all mistakes.
func ParseSweep(specs []string) ([]Axis, error) {
	var axes []Axis
	var errs []error
	for _, spec := range specs {
		var open *Axis // what a version without a name belongs to
		for part := range strings.SplitSeq(spec, ",") {
			name, version, named := strings.Cut(part, "=")
			if !named {
				name, version = "", part
			}
			switch {
			case version == "" || named && name == "" || !named && open == nil:
				errs = append(errs, fmt.Errorf("sweep %q: want NAME=VERSION[,VERSION...], for example kubernetes=v1.34.4,v1.35.4", spec))
				continue
			case named:
				if slices.ContainsFunc(axes, func(a Axis) bool { return a.Name == name }) {
					errs = append(errs, fmt.Errorf("sweep %q: %s is swept twice", spec, name))
					continue
				}
				axes = append(axes, Axis{Name: name})
				open = &axes[len(axes)-1]
			}
			if slices.Contains(open.Versions, version) {
				errs = append(errs, fmt.Errorf("sweep %q: %s %s stands there twice", spec, open.Name, version))
				continue
			}
			open.Versions = append(open.Versions, version)
		}
	}
	return axes, errors.Join(errs...)
}

// Sweep makes one scenario for each combination of versions, the last axis varying
// fastest. A scenario without a component is not varied along its axis; an axis along
// which none is is an error. Each is read as if it stood in a file of its own, against
// opts; the error holds all mistakes.
func Sweep(all []*Scenario, axes []Axis, opts Options) ([]*Scenario, error) {
	var out []*Scenario
	var errs []error
	used, known := map[string]bool{}, []string{AxisKubernetes}
	for _, base := range all {
		variants := []*Scenario{base}
		for _, c := range base.Spec.Components {
			if !slices.Contains(known, c.Name) {
				known = append(known, c.Name)
			}
		}
		for _, axis := range axes {
			var next []*Scenario
			for _, v := range variants {
				made, err := v.along(axis)
				next, errs = append(next, made...), append(errs, err)
			}
			if len(next) > 0 {
				variants, used[axis.Name] = next, true
			}
		}
		for _, v := range variants {
			checked, err := v.reread(opts)
			out, errs = append(out, checked), append(errs, err)
		}
	}
	for _, axis := range axes {
		if !used[axis.Name] {
			errs = append(errs, fmt.Errorf("sweep %s: no scenario of this run has such a component; %s", axis.Name, Suggest(axis.Name, known)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, sc := range out {
		if names[sc.Metadata.Name] { // both would want the same folder
			return nil, fmt.Errorf("sweep: two scenarios would be named %s", sc.Metadata.Name)
		}
		names[sc.Metadata.Name] = true
	}
	return out, nil
}

// along makes a copy for each version of an axis, or none where the scenario has no such
// component. The copy's name ends in what is varied: one letter for the axis, for a name
// has 50 characters.
func (s *Scenario) along(axis Axis) ([]*Scenario, error) {
	i := slices.IndexFunc(s.Spec.Components, func(c Component) bool { return c.Name == axis.Name })
	if i < 0 && axis.Name != AxisKubernetes {
		return nil, nil
	}
	var out []*Scenario
	for _, version := range axis.Versions {
		v, err := s.clone()
		if err != nil {
			return nil, err
		}
		if i < 0 {
			v.Spec.Cluster.Kubernetes = version
		} else {
			v.Spec.Components[i].Version = version
		}
		v.Metadata.Name += "-" + axis.Name[:1] + strings.ReplaceAll(strings.TrimPrefix(version, "v"), ".", "-")
		v.Metadata.Title += ", " + axis.Name + " " + version
		out = append(out, v)
	}
	return out, nil
}

func (s *Scenario) clone() (*Scenario, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("sweep %s: %w", s.Metadata.Name, err)
	}
	var out Scenario
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("sweep %s: %w", s.Metadata.Name, err)
	}
	return &out, nil
}

// reread holds a scenario to everything that a file is held to. JSON is YAML.
func (s *Scenario) reread(opts Options) (*Scenario, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("sweep %s: %w", s.Metadata.Name, err)
	}
	out, err := Load(s.Metadata.Name, raw, opts)
	if err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	return out, nil
}
