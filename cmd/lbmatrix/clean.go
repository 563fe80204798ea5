// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/cluster/kind"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
)

func (a *app) cleanCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "clean",
		Short: "Remove what dead runs left behind",
		Long: `Clean removes the containers, networks, processes and files that runs wrote into their ledgers, of runs that are no longer
alive, clusters kept with --keep among them. Live runs are left alone. Nothing outside the ledgers is touched.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := ledger.Dir()
			if err != nil {
				return failed(err)
			}
			r, err := ledger.Clean(cmd.Context(), dir, kind.Remover(), func(e ledger.Event) {
				switch {
				case e.Live:
					fmt.Fprintf(a.stdout, "left alone: %s belongs to a live run (pid %d)\n", e.Ledger, e.PID)
				case e.Err != nil:
					fmt.Fprintf(a.stdout, "kept: %s %s: %v\n", e.Entry.Kind, e.Entry.Name, e.Err)
				default:
					fmt.Fprintf(a.stdout, "removed: %s %s\n", e.Entry.Kind, e.Entry.Name)
				}
			})
			if err != nil {
				return failed(err)
			}
			fmt.Fprintf(a.stdout, "%d removed, %d live runs left alone\n", len(r.Removed), len(r.Live))
			return nil
		},
	}
}
