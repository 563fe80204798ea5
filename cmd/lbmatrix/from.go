// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// fromFlags are the flags that say where artifacts come from.
type fromFlags struct{ runner.Specs }

// sourceFlags adds those of every command that needs artifacts.
func (f *fromFlags) sourceFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.Source, "source", string(artifact.Auto), "where artifacts come from: auto, registry or go-module")
	cmd.Flags().StringArrayVar(&f.Mirrors, "registry-mirror", nil,
		"fetch what HOST serves from TARGET (HOST=TARGET); may be repeated; LBMATRIX_REGISTRY_MIRROR has them separated by commas")
	cmd.Flags().StringVar(&f.Pins, "pins", "", "file of digests; default $LBMATRIX_PINS, else lbmatrix/pins.yaml in the user's configuration folder")
	// Cobra's error is only that a name is not a flag's.
	_ = cmd.RegisterFlagCompletionFunc("source", fixed(string(artifact.Auto), string(artifact.Registry), string(artifact.GoModule)))
}

// ownFlags adds those for builds of the user's own.
func (f *fromFlags) ownFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.Images, "image", nil,
		"run an image of your own in place of a component's: COMPONENT[/IMAGE]=REFERENCE or =ARCHIVE; may be repeated")
	cmd.Flags().StringArrayVar(&f.Charts, "chart", nil, "install a component from a chart of your own: COMPONENT=PATH; may be repeated")
	cmd.Flags().StringArrayVar(&f.Sets, "set", nil, "set a chart's value: COMPONENT.KEY=VALUE, KEY=VALUE as `helm --set` reads it; may be repeated")
}

// read makes of the flags what a run is told, and sets values in the scenarios.
func (f *fromFlags) read(all []*scenario.Scenario) (runner.From, error) {
	from, err := f.Read(all)
	if err != nil {
		return from, usageError(err)
	}
	return from, nil
}

// fixed completes a flag with words that never change.
func fixed(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}
