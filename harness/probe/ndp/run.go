// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ndp

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/probe/sweep"
)

// Config is one sweep.
type Config struct {
	Conn      ether.Conn    // opened beforehand, and closed by Run; nil opens Interface
	Interface string        // used when Conn is nil
	Targets   []netip.Addr  // IPv6 unicast, each once, without a zone
	Source    netip.Addr    // the address to ask from; zero: the interface's that shares the first target's subnet, or its link-local one
	Count     int           // rounds; 0 is until stopped
	Interval  time.Duration // between rounds; the targets are spread evenly within it
	MaxRate   float64       // frames per second at most: more targets make a round longer than Interval; 0 is no limit
	Settle    time.Duration // listening after the last probe
}

func (c Config) sweep() sweep.Config {
	return sweep.Config{Targets: c.Targets, Count: c.Count, Interval: c.Interval, MaxRate: c.MaxRate, Settle: c.Settle}
}

func (c Config) validate() error {
	err := c.sweep().Validate(func(target netip.Addr) error {
		if !target.Is6() || target.Is4In6() || target.IsUnspecified() || target.IsMulticast() || target.Zone() != "" {
			return fmt.Errorf("target %s is not an IPv6 unicast address", target)
		}
		return nil
	})
	if err == nil && c.Source.IsValid() && (!c.Source.Is6() || c.Source.Is4In6()) {
		return fmt.Errorf("source %s is not an IPv6 address", c.Source)
	}
	return err
}

// source is the address that the answers come back to.
func (c Config) source(local ether.Local) (netip.Addr, error) {
	if c.Source.IsValid() {
		return c.Source, nil
	}
	var linkLocal, first netip.Addr
	for _, prefix := range local.Addresses {
		addr := prefix.Addr().WithZone("")
		switch {
		case !addr.Is6():
			continue
		case netip.PrefixFrom(addr, prefix.Bits()).Masked().Contains(c.Targets[0]):
			return addr, nil
		case addr.IsLinkLocalUnicast():
			linkLocal = addr
		}
		first = cmp.Or(first, addr)
	}
	if source := cmp.Or(linkLocal, first); source.IsValid() {
		return source, nil
	}
	return netip.Addr{}, fmt.Errorf("interface %s has no IPv6 address: give a source", local.Interface)
}

// Open opens a socket for neighbour advertisements on the named interface of the
// calling thread's network namespace; see ether.Open.
func Open(name string) (ether.Conn, error) {
	program, err := filter()
	if err != nil {
		return nil, err
	}
	return ether.Open("ndp", name, program, AllNodes())
}

// Run asks for every target Count times and records every answer until Settle after
// the last probe. All solicitations go to the solicited-node multicast address, with our
// link-layer address and hop limit 255 (RFC 4861 7.2.2): an answer to a unicast one would
// tell of one host only. Its errors are those of arp.Run.
//
// There is no counterpart to ARP's probe mode: an answer to the unspecified address goes
// to all nodes and is not marked as solicited (RFC 4861 7.2.4), so that nobody could tell
// it from an announcement.
func Run(ctx context.Context, c Config, w *stream.Writer) error {
	start := probe.Start{Instrument: "ndp", Interface: c.Interface}
	args := probe.NDPArgs{
		Targets: c.Targets, Count: c.Count, IntervalNS: c.sweep().Round().Nanoseconds(), MaxRate: c.MaxRate, SettleNS: c.Settle.Nanoseconds(),
	}
	source, err := c.prepare(&start)
	if c.Conn != nil {
		defer c.Conn.Close()
	}
	return w.Session(ctx, start, args, func(ctx context.Context) (any, error) {
		if err != nil {
			return nil, err // said inside the session, so that even this run has its end record
		}
		t, err := sweep.Run(ctx, c.sweep(), c.Conn, asker{source: source, mac: c.Conn.Local().MAC}, w)
		return probe.NDPTotals{
			Sent: t.Sent, SendErrors: t.SendErrors, Replies: t.Replies, Unsolicited: t.Unsolicited, Ignored: t.Ignored,
			Malformed: t.Malformed, KernelPackets: t.KernelPackets, KernelDrops: t.KernelDrops,
		}, err
	})
}

// prepare sees to the configuration and the socket.
func (c *Config) prepare(start *probe.Start) (netip.Addr, error) {
	if err := c.validate(); err != nil {
		return netip.Addr{}, err
	}
	return sweep.Attach(&c.Conn, start, Open, c.source)
}

// asker is the protocol of a sweep.
type asker struct {
	source netip.Addr
	mac    ether.HardwareAddr
}

func (a asker) Ask(target netip.Addr) []byte {
	group, mac := SolicitedNode(target)
	return Frame{
		EthernetDestination: mac, EthernetSource: a.mac, Source: a.source, Destination: group,
		Type: TypeSolicitation, Target: target, LinkAddress: a.mac, HasLinkAddress: true,
	}.Bytes()
}

func (asker) Asked(s sweep.Sent) (string, any) {
	record := probe.NDPProbe{Probe: s.Probe, Target: s.Target, SentNS: s.SentNS, KernelNS: s.KernelNS}
	if s.Err != nil {
		record.Error = s.Err.Error()
	}
	return probe.KindNDPProbe, record
}

func (a asker) Hear(p ether.Packet, find sweep.Find) sweep.Heard {
	f, err := Parse(p.Frame)
	if err != nil || f.Type != TypeAdvertisement {
		return sweep.Heard{Class: sweep.Malformed}
	}
	number, at, monitored := find(f.Target, p.ReceivedNS)
	mac := ""
	if f.HasLinkAddress {
		mac = f.LinkAddress.String()
	}
	flags := probe.NDPFlags{Router: f.Router, Solicited: f.Solicited, Override: f.Override}
	switch {
	// Whatever comes to the address that asked is an answer: a responder that forgets
	// the solicited flag must not be hidden among the announcements.
	case monitored && f.Destination == a.source:
		return sweep.Heard{Class: sweep.Reply, Kind: probe.KindNDPReply, Body: probe.NDPReply{
			Probe: number, Target: f.Target, TargetMAC: mac, EthernetSource: f.EthernetSource.String(), Source: f.Source,
			NDPFlags: flags, SentNS: at, ReceivedNS: p.ReceivedNS, VLAN: p.VLAN,
		}}
	case monitored && f.Destination.IsMulticast():
		return sweep.Heard{Class: sweep.Unsolicited, Kind: probe.KindNDPUnsolicited, Body: probe.NDPUnsolicited{
			Address: f.Target, TargetMAC: mac, EthernetSource: f.EthernetSource.String(), Source: f.Source,
			NDPFlags: flags, ReceivedNS: p.ReceivedNS, VLAN: p.VLAN,
		}}
	}
	return sweep.Heard{Class: sweep.Ignored}
}
