// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

// listed is a scenario in the output of list.
type listed struct {
	Name       string   `json:"name"`
	Title      string   `json:"title"`
	Proxy      string   `json:"proxy"`
	Forwarding string   `json:"forwarding"`
	Kubernetes string   `json:"kubernetes"`
	Mutations  []string `json:"mutations"`
}

func (a *app) listCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the scenarios",
		Example: `  lbmatrix list
  lbmatrix list -o json | jq -r '.[].name'
  echo "matrix=$(lbmatrix list -o github)" >> "$GITHUB_OUTPUT"   # one job a scenario`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			all, err := scenarios.All(runner.LoadOptions())
			if err != nil {
				return failed(err)
			}
			var out []listed
			for _, sc := range all {
				out = append(out, describe(sc))
			}
			switch format {
			case "json":
				return a.printJSON(out)
			case "github":
				return a.listGitHub(out)
			}
			tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(tw, "SCENARIO\tPROXY\tFORWARDING\tKUBERNETES\tMUTATIONS\tTITLE")
			for _, l := range out {
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%s\n", l.Name, l.Proxy, l.Forwarding, l.Kubernetes, len(l.Mutations), l.Title)
			}
			return tw.Flush()
		},
	}
	outputFlag(cmd, &format, "text", "json", "github")
	return cmd
}

// listGitHub prints a strategy matrix for GitHub Actions on one line.
func (a *app) listGitHub(all []listed) error {
	type include struct {
		Scenario string `json:"scenario"`
	}
	out := struct {
		Include []include `json:"include"`
	}{}
	for _, l := range all {
		out.Include = append(out.Include, include{Scenario: l.Name})
	}
	line, err := json.Marshal(out)
	if err != nil {
		return failed(fmt.Errorf("write output: %w", err))
	}
	fmt.Fprintln(a.stdout, string(line))
	return nil
}

func describe(sc *scenario.Scenario) listed {
	l := listed{
		Name: sc.Metadata.Name, Title: sc.Metadata.Title, Proxy: string(sc.Spec.DataPlane.Proxy),
		Forwarding: string(sc.Spec.DataPlane.Forwarding), Kubernetes: sc.Spec.Cluster.Kubernetes, Mutations: []string{},
	}
	for _, m := range sc.Spec.Mutations {
		l.Mutations = append(l.Mutations, m.Name)
	}
	return l
}
