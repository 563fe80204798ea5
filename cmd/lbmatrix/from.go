// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/component"
	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// fromFlags are the flags that say where artifacts come from.
type fromFlags struct {
	source, pins                  string
	mirrors, images, charts, sets []string
}

// sourceFlags adds those of every command that needs artifacts.
func (f *fromFlags) sourceFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.source, "source", string(artifact.Auto), "where artifacts come from: auto, registry or go-module")
	cmd.Flags().StringArrayVar(&f.mirrors, "registry-mirror", nil,
		"fetch what HOST serves from TARGET (HOST=TARGET); may be repeated; LBMATRIX_REGISTRY_MIRROR has them separated by commas")
	cmd.Flags().StringVar(&f.pins, "pins", "", "file of digests; default $LBMATRIX_PINS, else lbmatrix/pins.yaml in the user's configuration folder")
	// Cobra's error is only that a name is not a flag's.
	_ = cmd.RegisterFlagCompletionFunc("source", fixed(string(artifact.Auto), string(artifact.Registry), string(artifact.GoModule)))
}

// ownFlags adds those for builds of the user's own.
func (f *fromFlags) ownFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.images, "image", nil,
		"run an image of your own in place of a component's: COMPONENT[/IMAGE]=REFERENCE or =ARCHIVE; may be repeated")
	cmd.Flags().StringArrayVar(&f.charts, "chart", nil, "install a component from a chart of your own: COMPONENT=PATH; may be repeated")
	cmd.Flags().StringArrayVar(&f.sets, "set", nil, "set a chart's value: COMPONENT.KEY=VALUE, KEY=VALUE as `helm --set` reads it; may be repeated")
}

// read makes of the flags what a run is told, and sets values in the scenarios.
func (f *fromFlags) read(all []*scenario.Scenario) (runner.From, error) {
	from := runner.From{Mirrors: f.mirrors, Pins: f.pins, Own: artifact.Own{Charts: map[string]string{}}}
	if len(from.Mirrors) == 0 {
		from.Mirrors = strings.FieldsFunc(os.Getenv("LBMATRIX_REGISTRY_MIRROR"), func(r rune) bool { return r == ',' })
	}
	var errs []error
	var err error
	if from.Source, err = artifact.ParseSource(f.source); err != nil {
		errs = append(errs, fmt.Errorf("--source: %w", err))
	}
	if err := artifact.CheckMirrors(from.Mirrors); err != nil {
		errs = append(errs, fmt.Errorf("--registry-mirror: %w", err))
	}
	for _, spec := range f.images {
		own, err := artifact.ParseOwnImage(spec)
		if err == nil {
			err = usedBy(all, own.Component)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--image: %w", err))
			continue
		}
		from.Own.Images = append(from.Own.Images, own)
	}
	for _, spec := range f.charts {
		name, path, ok := strings.Cut(spec, "=")
		if !ok || name == "" || path == "" {
			errs = append(errs, fmt.Errorf("--chart %s: want COMPONENT=PATH", spec))
			continue
		}
		if err := cmp.Or(usedBy(all, name), artifact.CheckChart(path)); err != nil {
			errs = append(errs, fmt.Errorf("--chart %s: %w", spec, err))
			continue
		}
		from.Own.Charts[name] = path
	}
	for _, spec := range f.sets {
		if err := setValue(all, spec); err != nil {
			errs = append(errs, fmt.Errorf("--set %s: %w", spec, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return from, usageError(err)
	}
	return from, nil
}

// setValue sets a value in every scenario that has the component.
func setValue(all []*scenario.Scenario, spec string) error {
	name, rest, ok := strings.Cut(spec, ".")
	if !ok || name == "" || !strings.Contains(rest, "=") {
		return errors.New("want COMPONENT.KEY=VALUE, for example metallb.speaker.logLevel=debug")
	}
	if err := usedBy(all, name); err != nil {
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

// usedBy is an error where no scenario has a component: a build that nothing runs would
// pass for one that was tested.
func usedBy(all []*scenario.Scenario, name string) error {
	var known []string
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
	return fmt.Errorf("no scenario of this run has a component %q; %s", name, scenario.Suggest(name, known))
}

// fixed completes a flag with words that never change.
func fixed(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}
