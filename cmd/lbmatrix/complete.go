// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/scenarios"
)

// completeScenarios completes the names of scenarios that are not on the line yet.
func completeScenarios(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return begunBy(scenarios.Names(), args, typed), cobra.ShellCompDirectiveNoFileComp
}

// begunBy gives the names that begin as typed, without those on the line already.
func begunBy(names, args []string, typed string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(args, n) || !strings.HasPrefix(n, typed) })
}
