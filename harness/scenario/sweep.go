// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"crypto/sha256"
	"encoding/hex"
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
		added, err := parseAxes(spec)
		if err != nil {
			errs = append(errs, fmt.Errorf("sweep %q: %w", spec, err))
			continue
		}
		for _, a := range added {
			if slices.ContainsFunc(axes, func(b Axis) bool { return a.Name == b.Name }) {
				errs = append(errs, fmt.Errorf("sweep %q: %s is swept twice", spec, a.Name))
				continue
			}
			axes = append(axes, a)
		}
	}
	return axes, errors.Join(errs...)
}

// parseAxes reads one text, up to its first mistake.
func parseAxes(spec string) ([]Axis, error) {
	var axes []Axis
	for part := range strings.SplitSeq(spec, ",") {
		part = strings.TrimSpace(part)
		name, version, named := strings.Cut(part, "=")
		if named {
			axes = append(axes, Axis{Name: name})
		} else {
			version = part // of the axis before
		}
		if version == "" || len(axes) == 0 || axes[len(axes)-1].Name == "" {
			return nil, errors.New("want NAME=VERSION[,VERSION...], for example kubernetes=v1.34.4,v1.35.4")
		}
		last := &axes[len(axes)-1]
		check := checkVersion
		if last.Name == AxisKubernetes {
			check = checkKubernetes
		}
		if problem, suggestion := check(version); problem != "" {
			return nil, fmt.Errorf("%s; %s", problem, suggestion)
		}
		if slices.Contains(last.Versions, version) {
			return nil, fmt.Errorf("%s %s stands there twice", last.Name, version)
		}
		last.Versions = append(last.Versions, version)
	}
	return axes, nil
}

// Sweep makes one scenario for each combination of versions, the last axis varying
// fastest. A scenario without a component is not varied along its axis; an axis along
// which none is is an error. Each is read as if it stood in a file of its own, against
// opts; the error holds all mistakes.
func Sweep(all []*Scenario, axes []Axis, opts Options) ([]*Scenario, error) {
	if len(axes) == 0 {
		return all, nil
	}
	var out []*Scenario
	var errs []error
	for _, axis := range axes {
		if axis.Name == AxisKubernetes {
			continue // every scenario has one
		}
		if err := UsesComponent(all, axis.Name, AxisKubernetes); err != nil {
			errs = append(errs, fmt.Errorf("sweep %s: %w", axis.Name, err))
		}
	}
	for _, base := range all {
		variants := []variant{{Scenario: base}}
		for _, axis := range axes {
			var next []variant
			for _, v := range variants {
				next = append(next, v.along(axis)...)
			}
			variants = next
		}
		for _, v := range variants {
			checked, err := v.reread(opts)
			out, errs = append(out, checked), append(errs, err)
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

// variant is a copy of a scenario, and what is varied in it.
type variant struct {
	*Scenario
	suffix string // of its name
}

// along makes a copy for each version of an axis; a scenario that has no such component
// stays as it is.
func (v variant) along(axis Axis) []variant {
	i := slices.IndexFunc(v.Spec.Components, func(c Component) bool { return c.Name == axis.Name })
	if i < 0 && axis.Name != AxisKubernetes {
		return []variant{v}
	}
	var out []variant
	for _, version := range axis.Versions {
		made := *v.Scenario
		if i < 0 {
			made.Spec.Cluster.Kubernetes = version
		} else {
			made.Spec.Components = slices.Clone(made.Spec.Components)
			made.Spec.Components[i].Version = version
		}
		made.Metadata.Title += ", " + axis.Name + " " + version
		number := strings.ReplaceAll(strings.TrimPrefix(version, "v"), ".", "-")
		out = append(out, variant{&made, v.suffix + "-" + axis.Name[:1] + number})
	}
	return out
}

// name is the scenario's with what is varied at its end. Of one that would be too long the
// middle gives way to a hash of it.
func (v variant) name() string {
	base := v.Metadata.Name
	if over := len(base) + len(v.suffix) - maxName; over > 0 && v.suffix != "" {
		sum := sha256.Sum256([]byte(base))
		hash := "-" + hex.EncodeToString(sum[:])[:6]
		base = strings.TrimRight(base[:max(1, len(base)-over-len(hash))], "-") + hash
	}
	return base + v.suffix
}

// reread holds a variant to everything that a file is held to. JSON is YAML.
func (v variant) reread(opts Options) (*Scenario, error) {
	made := *v.Scenario
	made.Metadata.Name = v.name()
	raw, err := json.Marshal(&made)
	if err != nil {
		return nil, fmt.Errorf("sweep %s: %w", v.Metadata.Name, err)
	}
	out, err := Load(made.Metadata.Name, raw, opts)
	if err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	return out, nil
}
