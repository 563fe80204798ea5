// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import "github.com/spf13/cobra"

func (a *app) probeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Use the instruments by hand on a host of the segment",
	}
	cmd.AddCommand(a.probeARP(), a.probeNDP(), a.probeLoad(), a.probeWatch(), a.probeCapture())
	return cmd
}
