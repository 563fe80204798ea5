// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/load"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

func (a *app) probeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Use the instruments by hand on a host of the segment",
	}
	cmd.AddCommand(a.probeARP(), a.probeNDP(), a.probeLoad())
	return cmd
}

func (a *app) probeLoad() *cobra.Command {
	var c load.Config
	var target string
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Send requests on a schedule and print the instrument's records",
		Long: `Load sends requests open loop: request i is due at start + i/rate, and its latency counts from then. It prints JSON lines:
errors in full, histograms and totals at the end.`,
		Example: `  lbmatrix probe load --target 192.0.2.40:80 --rate 100 --count 1000`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := netip.ParseAddrPort(target); err != nil {
				return usageError(fmt.Errorf("--target: %w", err))
			}
			c.Targets = []probe.LoadTarget{{Name: target, Address: target}}
			if err := load.Run(cmd.Context(), c, stream.NewWriter(a.stdout)); err != nil {
				return failed(err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&target, "target", "", "address:port (required)")
	cmd.Flags().StringVar(&c.Mode, "mode", probe.ModeHTTPNew, "tcp-connect, http-new, http-keepalive or udp-echo")
	cmd.Flags().Float64Var(&c.Rate, "rate", 100, "requests per second")
	cmd.Flags().Int64Var(&c.Count, "count", 1000, "requests")
	cmd.Flags().Int64Var(&c.Warmup, "warmup", 0, "keep the first requests out of the histograms")
	cmd.Flags().DurationVar(&c.Timeout, "timeout", 2*time.Second, "of one request")
	cmd.Flags().DurationVar(&c.Late, "late", time.Millisecond, "a request sent later than this after it was due counts as late")
	cmd.Flags().IntVar(&c.MaxInFlight, "max-in-flight", 1024, "a request due with this many unfinished is dropped")
	cmd.Flags().IntVar(&c.Payload, "payload", 32, "bytes of an udp-echo datagram")
	_ = cmd.MarkFlagRequired("target")
	return cmd
}
