// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/report"
)

// finding is one line of doctor. Level is ok, warn (it may do) or bad (it won't run).
type finding struct {
	Level string `json:"level"`
	What  string `json:"what"`
	Found string `json:"found"`
	Fix   string `json:"fix,omitempty"`
}

func (a *app) doctorCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look whether this machine can run scenarios, and say what to mend",
		Long: `Doctor looks and changes nothing. Each line is ok, warn (it may do, or some scenarios are unsupported) or bad (nothing runs:
exit code 3), with what was found and how to mend it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := examine(cmd.Context())
			bad := 0
			for _, f := range all {
				if f.Level == "bad" {
					bad++
				}
			}
			if format == "json" {
				if err := a.printJSON(all); err != nil {
					return err
				}
			} else {
				tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
				for _, f := range all {
					fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", f.Level, f.What, f.Found, f.Fix)
				}
				if err := tw.Flush(); err != nil {
					return failed(err)
				}
			}
			if bad > 0 {
				return &exitError{code: report.ExitBroken}
			}
			return nil
		},
	}
	outputFlag(cmd, &format, "text", "json")
	return cmd
}
