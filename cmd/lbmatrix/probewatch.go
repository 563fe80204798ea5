// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/probe/timeline"
	"github.com/lbmatrix/lbmatrix/harness/probe/watch"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

func (a *app) probeWatch() *cobra.Command {
	var c watch.Config
	var vip, vip6, format string
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Send several kinds of traffic side by side, and tell when each failed",
		Long: `Watch sends new connections, sequence numbers on one long-lived connection, datagrams and who-has side by side, until it is
interrupted or its duration is over, and prints what happened when: outages, from the first probe that failed to the
first of several that succeeded; who answered ARP; and when two MACs answered for one address. Targets answer as lbprobe
serve does. It exits with 1 when there was an outage or an overlap, with 3 when frames were lost. ARP needs root or
CAP_NET_RAW; on a host that also is the client use --own-mac, or asking would refresh its neighbour entry. For IPv6 it only
listens, for advertisements and for the answers that others get as far as they reach the interface; it needs the same right.`,
		Example: `  lbmatrix probe watch --new 192.0.2.40:80 --long 192.0.2.40:81 --udp 192.0.2.40:80 --duration 60s
  lbmatrix probe watch --new 192.0.2.40:80 --arp 192.0.2.40 --iface eth0 --own-mac --interval 5ms -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for flag, address := range map[string]string{"--new": c.New, "--long": c.Long, "--udp": c.UDP} {
				if _, err := netip.ParseAddrPort(address); address != "" && err != nil {
					return usageError(fmt.Errorf("%s: %w", flag, err))
				}
			}
			if vip != "" {
				addr, err := netip.ParseAddr(vip)
				if err != nil {
					return usageError(fmt.Errorf("--arp: %w", err))
				}
				c.ARP.VIP = addr
			}
			if vip6 != "" {
				addr, err := netip.ParseAddr(vip6)
				if err != nil {
					return usageError(fmt.Errorf("--ndp: %w", err))
				}
				c.NDP.VIP = addr
			}
			if (vip != "" || vip6 != "") != (c.ARP.Interface != "") {
				return usageError(errors.New("--arp and --ndp need --iface, and it needs one of them"))
			}
			c.NDP.Interface, c.NDP.Grace = c.ARP.Interface, c.ARP.Grace
			return a.watch(cmd.Context(), c, format)
		},
	}
	f := cmd.Flags()
	c.Flags(f)
	f.StringVar(&vip, "arp", "", "ask by ARP who has this address")
	f.StringVar(&vip6, "ndp", "", "listen for who advertises this IPv6 address, or answers others for it")
	f.StringVar(&c.ARP.Interface, "iface", "", "interface on the segment; --arp and --ndp need it")
	cmd.MarkFlagsOneRequired("new", "long", "udp", "arp", "ndp")
	outputFlag(cmd, &format, "table", "json", "records")
	return cmd
}

// watch runs the instrument in this process and sums it up.
func (a *app) watch(ctx context.Context, c watch.Config, format string) error {
	if format == "records" {
		if err := watch.Run(ctx, c, stream.NewWriter(a.stdout)); err != nil {
			return failed(err)
		}
		return nil
	}
	var out bytes.Buffer
	runErr := watch.Run(ctx, c, stream.NewWriter(&out))
	records, err := stream.Read(&out)
	if err = errors.Join(runErr, err); err != nil {
		return failed(err)
	}
	t, err := timeline.Read(records)
	if err != nil {
		return failed(err)
	}
	if format == "json" {
		err = a.printJSON(t)
	} else {
		err = timeline.Table(a.stdout, t)
	}
	switch {
	case err != nil:
		return failed(err)
	case t.KernelDrops > 0 || !t.Complete:
		return &exitError{code: report.ExitBroken}
	case t.Disturbed():
		return &exitError{code: report.ExitFailed}
	}
	return nil
}
