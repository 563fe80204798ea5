// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"context"
	"flag"

	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/probe/watch"
)

func watchCommand(flags *flag.FlagSet) instrument {
	var c watch.Config
	c.Flags(flags)
	flags.Func("arp", "ask by ARP who has this IPv4 `address`", parseAddr(&c.ARP.VIP))
	flags.Func("ndp", "listen for who advertises this IPv6 `address`, or answers others for it", parseAddr(&c.NDP.VIP))
	flags.StringVar(&c.ARP.Interface, "interface", "eth0", "ask and listen on this interface")
	flags.IntVar(&c.Payload, "payload", 32, "bytes of a datagram")
	flags.Func("source", "send from this `address`", parseAddr(&c.Source))
	return func(ctx context.Context, w *stream.Writer) error {
		c.NDP.Interface, c.NDP.Grace = c.ARP.Interface, c.ARP.Grace
		return watch.Run(ctx, c, w)
	}
}
