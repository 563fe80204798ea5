// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
	"github.com/lbmatrix/lbmatrix/harness/probe/ndp"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/probe/sweep"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

// maxProbeRate is how many frames a second a sweep by hand sends at most: a /22 takes a
// second, and a segment of slow hosts is not flooded.
const maxProbeRate = 1000

func (a *app) probeARP() *cobra.Command {
	var c arp.Config
	cmd := a.sweepCommand(&sweepFlags{targets: &c.Targets, count: &c.Count, interval: &c.Interval, settle: &c.Settle, rate: &c.MaxRate, iface: &c.Interface, asks: "broadcasts"},
		func(ctx context.Context, w *stream.Writer) error { return arp.Run(ctx, c, w) }, arp.Summarize)
	cmd.Use = "arp"
	cmd.Short = "Count who answers ARP for addresses"
	cmd.Long = `Arp broadcasts who-has for every address at a fixed rate, from this host, and lists every MAC that answers. It needs root
or CAP_NET_RAW. It exits with 1 when an address was not answered by exactly one MAC, 3 when frames were lost.`
	cmd.Example = `  lbmatrix probe arp --iface eth0 --vip 192.0.2.40 --count 50 --interval 40ms
  lbmatrix probe arp --iface eth0 --vip 192.0.2.40,192.0.2.41 -o json`
	cmd.Flags().BoolVar(&c.ProbeMode, "probe-mode", false, "ask from 0.0.0.0 (RFC 5227): leaves every neighbour cache as it is")
	return cmd
}

func (a *app) probeNDP() *cobra.Command {
	var c ndp.Config
	cmd := a.sweepCommand(&sweepFlags{targets: &c.Targets, count: &c.Count, interval: &c.Interval, settle: &c.Settle, rate: &c.MaxRate, iface: &c.Interface, asks: "solicitations"},
		func(ctx context.Context, w *stream.Writer) error { return ndp.Run(ctx, c, w) }, ndp.Summarize)
	cmd.Use = "ndp"
	cmd.Short = "Count who answers neighbour discovery for IPv6 addresses"
	cmd.Long = `Ndp multicasts neighbour solicitations for every address at a fixed rate, from this host, and lists every MAC that answers,
with the flags of its advertisements: R router, S solicited, O override. It needs root or CAP_NET_RAW. It exits with 1 when
an address was not answered by exactly one MAC, 3 when frames were lost.`
	cmd.Example = `  lbmatrix probe ndp --iface eth0 --vip 2001:db8::40 --count 50 --interval 40ms`
	return cmd
}

// sweepFlags is where the flags of both sweeps go.
type sweepFlags struct {
	targets          *[]netip.Addr
	count            *int
	interval, settle *time.Duration
	rate             *float64
	iface            *string
	asks             string // what is sent, in the plural
}

// sweepCommand is the part of a command that arp and ndp share.
func (a *app) sweepCommand(f *sweepFlags, run func(context.Context, *stream.Writer) error, summarize func([]probe.Record) (sweep.Summary, error)) *cobra.Command {
	var vips []string
	var format string
	cmd := &cobra.Command{
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, v := range vips {
				addr, err := netip.ParseAddr(strings.TrimSpace(v))
				if err != nil {
					return usageError(fmt.Errorf("--vip: %w", err))
				}
				*f.targets = append(*f.targets, addr)
			}
			if *f.count < 1 {
				return usageError(errors.New("--count: want at least 1"))
			}
			if format == "records" {
				if err := run(cmd.Context(), stream.NewWriter(a.stdout)); err != nil {
					return failed(err)
				}
				return nil
			}
			return a.sweep(cmd.Context(), run, summarize, format)
		},
	}
	cmd.Flags().StringVar(f.iface, "iface", "", "interface on the segment (required)")
	cmd.Flags().StringSliceVar(&vips, "vip", nil, "addresses to ask for (required)")
	cmd.Flags().IntVar(f.count, "count", 10, f.asks+" per address, at least 1")
	cmd.Flags().DurationVar(f.interval, "interval", 200*time.Millisecond, "time between two "+f.asks+" for one address")
	cmd.Flags().Float64Var(f.rate, "max-rate", maxProbeRate, f.asks+" per second over all addresses at most: many addresses lengthen the interval; 0 is no limit")
	cmd.Flags().DurationVar(f.settle, "settle", time.Second, "how long to listen after the last of the "+f.asks)
	_ = cmd.MarkFlagRequired("iface")
	_ = cmd.MarkFlagRequired("vip")
	outputFlag(cmd, &format, "table", "json", "records")
	return cmd
}

// sweep runs the instrument in this process and sums it up.
func (a *app) sweep(ctx context.Context, run func(context.Context, *stream.Writer) error, summarize func([]probe.Record) (sweep.Summary, error), format string) error {
	var out bytes.Buffer
	runErr := run(ctx, stream.NewWriter(&out))
	records, err := stream.Read(&out)
	if err = errors.Join(runErr, err); err != nil {
		return failed(err)
	}
	s, err := summarize(records)
	if err != nil {
		return failed(err)
	}
	if format == "json" {
		err = a.printJSON(s)
	} else {
		err = sweep.Table(a.stdout, s)
	}
	if err != nil {
		return failed(err)
	}
	if !s.Complete || s.KernelDrops > 0 {
		return &exitError{code: report.ExitBroken}
	}
	for _, v := range s.VIPs {
		if v.MACs() != 1 {
			return &exitError{code: report.ExitFailed}
		}
	}
	return nil
}
