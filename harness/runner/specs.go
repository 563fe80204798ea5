// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/component"
	"github.com/lbmatrix/lbmatrix/harness/fault"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

// mirrorsVariable names mirrors in the environment, separated by commas.
const mirrorsVariable = "LBMATRIX_REGISTRY_MIRROR"

// Specs say where artifacts come from as people write it: flags of the command line, and
// the options of a Go test.
type Specs struct {
	Source, Pins string
	Mirrors      []string // HOST=TARGET
	Images       []string // COMPONENT[/IMAGE]=REFERENCE or =ARCHIVE
	Charts       []string // COMPONENT=PATH
	Sets         []string // COMPONENT.KEY=VALUE
}

// Read checks everything and returns all mistakes. Values are set in the scenarios.
func (s Specs) Read(all []*scenario.Scenario) (From, error) {
	from := From{Mirrors: s.Mirrors, Pins: s.Pins, Own: artifact.Own{Charts: map[string]string{}}}
	if len(from.Mirrors) == 0 {
		from.Mirrors = strings.FieldsFunc(os.Getenv(mirrorsVariable), func(r rune) bool { return r == ',' })
	}
	var errs []error
	var err error
	if from.Source, err = artifact.ParseSource(s.Source); err != nil {
		errs = append(errs, err)
	}
	if err := artifact.CheckMirrors(from.Mirrors); err != nil {
		errs = append(errs, err)
	}
	for _, spec := range s.Images {
		own, err := artifact.ParseOwnImage(spec)
		if err == nil {
			err = scenario.UsesComponent(all, own.Component)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		from.Own.Images = append(from.Own.Images, own)
	}
	for _, spec := range s.Charts {
		name, path, ok := strings.Cut(spec, "=")
		if !ok || name == "" || path == "" {
			errs = append(errs, fmt.Errorf("own chart %q: want COMPONENT=PATH", spec))
			continue
		}
		if err := cmp.Or(scenario.UsesComponent(all, name), artifact.CheckChart(path)); err != nil {
			errs = append(errs, fmt.Errorf("own chart %q: %w", spec, err))
			continue
		}
		from.Own.Charts[name] = path
	}
	for _, spec := range s.Sets {
		if err := setValue(all, spec); err != nil {
			errs = append(errs, fmt.Errorf("set %q: %w", spec, err))
		}
	}
	if from.Source == artifact.GoModule {
		errs = append(errs, pinned(all, from.Own))
	}
	return from, errors.Join(errs...)
}

// pinned refuses versions that cannot be built, each told once.
func pinned(all []*scenario.Scenario, own artifact.Own) error {
	var errs []error
	said := map[string]bool{}
	for _, sc := range all {
		if err := artifact.CheckPins(SetOf(sc, scenario.ProviderAny), own); err != nil && !said[err.Error()] {
			said[err.Error()] = true
			errs = append(errs, fmt.Errorf("scenario %s: %w", sc.Metadata.Name, err))
		}
	}
	return errors.Join(errs...)
}

// setValue sets a value in every scenario that has the component.
func setValue(all []*scenario.Scenario, spec string) error {
	name, rest, ok := strings.Cut(spec, ".")
	if !ok || name == "" || !strings.Contains(rest, "=") {
		return errors.New("want COMPONENT.KEY=VALUE, for example metallb.speaker.logLevel=debug")
	}
	if err := scenario.UsesComponent(all, name); err != nil {
		return err
	}
	for _, sc := range all {
		for i := range sc.Spec.Components {
			c := &sc.Spec.Components[i]
			if c.Name != name {
				continue
			}
			var err error
			if c.Values, err = component.SetValue(c.Values, rest); err != nil {
				return err
			}
		}
	}
	return nil
}

// LoadOptions are what scenario files are checked against.
func LoadOptions() scenario.Options {
	return scenario.Options{Mutations: fault.Names(), Checks: judge.IDs()}
}

// Choose loads scenarios of the catalogue by name, and files; all of the catalogue where
// neither is given. It returns all mistakes.
func Choose(names, files []string) ([]*scenario.Scenario, error) {
	opts := LoadOptions()
	if len(names)+len(files) == 0 {
		return scenarios.All(opts)
	}
	var all []*scenario.Scenario
	var errs []error
	for _, n := range names {
		sc, err := scenarios.Get(n, opts)
		all, errs = append(all, sc), append(errs, err)
	}
	for _, file := range files {
		sc, err := scenario.LoadFile(file, opts)
		all, errs = append(all, sc), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, sc := range all {
		if seen[sc.Metadata.Name] { // both would want the same folder
			return nil, fmt.Errorf("scenario %s is named twice", sc.Metadata.Name)
		}
		seen[sc.Metadata.Name] = true
	}
	return all, nil
}
