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
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

func (a *app) probeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Use the instruments by hand on a host of the segment",
	}
	cmd.AddCommand(a.probeARP(), a.probeLoad(), a.probeWatch(), a.probeCapture())
	return cmd
}

func (a *app) probeARP() *cobra.Command {
	var c arp.Config
	var vips []string
	var format string
	cmd := &cobra.Command{
		Use:   "arp",
		Short: "Count who answers ARP for addresses",
		Long: `Arp broadcasts who-has for every address at a fixed rate, from this host, and lists every MAC that answers. It needs root
or CAP_NET_RAW. It exits with 1 when an address was not answered by exactly one MAC, 3 when frames were lost.`,
		Example: `  lbmatrix probe arp --iface eth0 --vip 192.0.2.40 --count 50 --interval 40ms
  lbmatrix probe arp --iface eth0 --vip 192.0.2.40,192.0.2.41 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, v := range vips {
				addr, err := netip.ParseAddr(strings.TrimSpace(v))
				if err != nil {
					return usageError(fmt.Errorf("--vip: %w", err))
				}
				c.Targets = append(c.Targets, addr)
			}
			return a.sweep(cmd.Context(), c, format)
		},
	}
	cmd.Flags().StringVar(&c.Interface, "iface", "", "interface on the segment (required)")
	cmd.Flags().StringSliceVar(&vips, "vip", nil, "addresses to ask for (required)")
	cmd.Flags().IntVar(&c.Count, "count", 10, "broadcasts per address, at least 1")
	cmd.Flags().DurationVar(&c.Interval, "interval", 200*time.Millisecond, "time between two broadcasts for one address")
	cmd.Flags().DurationVar(&c.Settle, "settle", time.Second, "how long to listen after the last broadcast")
	cmd.Flags().BoolVar(&c.ProbeMode, "probe-mode", false, "ask from 0.0.0.0 (RFC 5227): leaves every neighbour cache as it is")
	_ = cmd.MarkFlagRequired("iface")
	_ = cmd.MarkFlagRequired("vip")
	outputFlag(cmd, &format, "table", "json", "records")
	return cmd
}

// sweep runs the instrument in this process and sums it up.
func (a *app) sweep(ctx context.Context, c arp.Config, format string) error {
	if c.Count < 1 {
		return usageError(errors.New("--count: want at least 1"))
	}
	if format == "records" {
		if err := arp.Run(ctx, c, stream.NewWriter(a.stdout)); err != nil {
			return failed(err)
		}
		return nil
	}
	var out bytes.Buffer
	runErr := arp.Run(ctx, c, stream.NewWriter(&out))
	var records []probe.Record
	records, err := stream.Read(&out)
	if err = errors.Join(runErr, err); err != nil {
		return failed(err)
	}
	s, err := arp.Summarize(records)
	if err != nil {
		return failed(err)
	}
	if format == "json" {
		err = a.printJSON(s)
	} else {
		err = arp.Table(a.stdout, s)
	}
	if err != nil {
		return failed(err)
	}
	if !s.Complete || s.KernelDrops > 0 {
		return &exitError{code: report.ExitBroken}
	}
	for _, v := range s.VIPs {
		if distinctMACs(v) != 1 {
			return &exitError{code: report.ExitFailed}
		}
	}
	return nil
}

// distinctMACs counts MACs: one responder may show up by several Ethernet sources.
func distinctMACs(v arp.VIP) int {
	macs := map[string]bool{}
	for _, r := range v.Responders {
		macs[r.MAC] = true
	}
	return len(macs)
}
