// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/fault"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain ID",
		Short: "Explain a check, a scenario or a mutation",
		Example: `  lbmatrix explain single-responder
  lbmatrix explain no-l2-advertisement
  lbmatrix explain kube-proxy-iptables-metallb-l2`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return begunBy(known(), nil, typed), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.explain(args[0]) },
	}
}

func known() []string { return slices.Concat(judge.IDs(), scenarios.Names(), fault.Names()) }

func (a *app) explain(id string) error {
	if c, ok := judge.Lookup(id); ok {
		fmt.Fprintf(a.stdout, "%s (check, family %s)\n  %s.\n\nWhy: %s\n\nHow: %s\n\nNeeds the observations: %s\nCodes: %s; no-data when broken\n",
			c.ID, c.Family, c.Title, c.Why, c.Method, strings.Join(c.Needs, ", "), strings.Join(c.Codes, ", "))
		return nil
	}
	if slices.Contains(fault.Names(), id) {
		fmt.Fprintf(a.stdout, "%s (mutation)\n  %s.\n", id, fault.Why(id))
		return nil
	}
	if slices.Contains(scenarios.Names(), id) {
		sc, err := scenarios.Get(id, runner.LoadOptions())
		if err != nil {
			return failed(err)
		}
		fmt.Fprintf(a.stdout, "%s (scenario)\n  %s\n\n%s\n\nSteps: %s\n", id, sc.Metadata.Title,
			strings.TrimSpace(sc.Metadata.Description), strings.Join(plan.Steps(sc, plan.Mutations{}), ", "))
		for _, m := range sc.Spec.Mutations {
			fmt.Fprintf(a.stdout, "\nMutation %s: %s.\n", m.Name, fault.Why(m.Name))
			for _, e := range m.Expect {
				fmt.Fprintf(a.stdout, "  must be caught by %s with code %s\n", e.Check, e.Code)
			}
		}
		return nil
	}
	return usageError(fmt.Errorf("explain: there is no check, scenario or mutation %q; %s", id, scenario.Suggest(id, known())))
}
