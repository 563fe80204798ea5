// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/load"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

func (a *app) probeLoad() *cobra.Command {
	var c load.Config
	var targets []string
	var log, format string
	ramp := load.NewRamp()
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Send requests on a schedule, and measure each from when it was due",
		Long: `Load sends requests open loop: each is due by a schedule that no answer holds up, and its latency counts from then. With
--ramp-limit it searches for the highest rate whose percentile stays within the limit. Targets answer as lbprobe serve
does. It exits with 1 when a request failed, or no rate met the limit; with 3 when requests were not sent.`,
		Example: `  lbmatrix probe load --target 192.0.2.40:80 --rate 100 --count 1000
  lbmatrix probe load --target 192.0.2.40:80 --mode http-keepalive --schedule poisson --rate 500 --duration 30s --hdr-log vip.hlog
  lbmatrix probe load --target 192.0.2.40:80 --mode http-keepalive --rate 1000 --ramp-limit 5ms -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, target := range targets {
				if _, err := netip.ParseAddrPort(target); err != nil {
					return usageError(fmt.Errorf("--target: %w", err))
				}
				c.Targets = append(c.Targets, probe.LoadTarget{Name: target, Address: target})
			}
			if c.Ramp = ramp.Wire(); c.Ramp == nil && c.Count == 0 && c.Duration == 0 {
				c.Count = 1000
			}
			return a.withFile(log, func(out io.Writer) error {
				c.HDRLog = out
				return a.load(cmd.Context(), c, format)
			})
		},
	}
	f := cmd.Flags()
	c.Flags(f)
	ramp.Flags(f)
	f.StringSliceVar(&targets, "target", nil, "address:port, taking turns (required)")
	f.Int64Var(&c.Count, "count", 0, "requests; 1000 when neither this nor --duration is given")
	f.DurationVar(&c.Duration, "duration", 0, "how long to send")
	f.StringVar(&log, "hdr-log", "", "write an HdrHistogram V2 log of every second to this file")
	_ = cmd.MarkFlagRequired("target")
	cmd.MarkFlagsMutuallyExclusive("count", "duration")
	outputFlag(cmd, &format, "table", "json", "records")
	return cmd
}

// withFile runs work with a new file, or with nil where the name is empty.
func (a *app) withFile(name string, work func(io.Writer) error) error {
	if name == "" {
		return work(nil)
	}
	file, err := os.Create(name)
	if err != nil {
		return usageError(err)
	}
	workErr := work(file)
	if err := file.Close(); workErr == nil && err != nil {
		return failed(err)
	}
	return workErr
}

// load runs the instrument in this process and sums it up.
func (a *app) load(ctx context.Context, c load.Config, format string) error {
	if format == "records" {
		if err := load.Run(ctx, c, stream.NewWriter(a.stdout)); err != nil {
			return failed(err)
		}
		return nil
	}
	var out bytes.Buffer
	runErr := load.Run(ctx, c, stream.NewWriter(&out))
	records, err := stream.Read(&out)
	if err = errors.Join(runErr, err); err != nil {
		return failed(err)
	}
	s, err := load.Summarize(records)
	if err != nil {
		return failed(err)
	}
	if format == "json" {
		err = a.printJSON(s)
	} else {
		err = load.Table(a.stdout, s)
	}
	switch {
	case err != nil:
		return failed(err)
	case s.Totals.Dropped > 0, s.Ramp != nil && s.Ramp.Interrupted:
		return &exitError{code: report.ExitBroken}
	case s.Totals.Errors > 0, s.Ramp != nil && s.Ramp.HighestRate == 0:
		return &exitError{code: report.ExitFailed}
	}
	return nil
}
