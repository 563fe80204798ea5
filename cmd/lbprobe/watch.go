// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"context"
	"flag"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/probe/watch"
)

func watchCommand(flags *flag.FlagSet) instrument {
	var c watch.Config
	flags.StringVar(&c.New, "new", "", "new connections to this `address:port`")
	flags.StringVar(&c.Mode, "mode", probe.ModeHTTPNew, "of them: http-new or tcp-connect")
	flags.StringVar(&c.Long, "long", "", "one long-lived connection to the TCP echo at this `address:port`")
	flags.StringVar(&c.UDP, "udp", "", "datagrams to this `address:port`")
	flags.Func("arp", "ask by ARP who has this IPv4 `address`", parseAddr(&c.ARP.VIP))
	flags.Func("ndp", "listen for who advertises this IPv6 `address`, or answers others for it", parseAddr(&c.NDP.VIP))
	flags.StringVar(&c.ARP.Interface, "interface", "eth0", "ask and listen on this interface")
	flags.BoolVar(&c.ARP.OwnMAC, "own-mac", false, "ask from a locally administered MAC, in promiscuous mode: the host's own kernel learns nothing")
	flags.BoolVar(&c.ARP.Passive, "passive", false, "do not ask by ARP, only listen")
	flags.DurationVar(&c.ARP.Grace, "grace", 50*time.Millisecond, "a silence of ARP up to this is no failure, and one of NDP no gap")
	flags.DurationVar(&c.Interval, "interval", 10*time.Millisecond, "between two probes of each kind")
	flags.DurationVar(&c.Timeout, "timeout", 500*time.Millisecond, "of one probe; below 1s each asks once")
	flags.DurationVar(&c.Reconnect, "reconnect", 10*time.Second, "give the long-lived connection up when silent for this long")
	flags.IntVar(&c.Recovered, "recovered", 3, "successes in a row that end an outage")
	flags.DurationVar(&c.Duration, "duration", 0, "how long to watch; 0: until stopped")
	flags.IntVar(&c.Payload, "payload", 32, "bytes of a datagram")
	flags.Func("source", "send from this `address`", parseAddr(&c.Source))
	return func(ctx context.Context, w *stream.Writer) error {
		c.NDP.Interface, c.NDP.Grace = c.ARP.Interface, c.ARP.Grace
		return watch.Run(ctx, c, w)
	}
}
