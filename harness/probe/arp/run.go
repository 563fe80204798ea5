// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package arp

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/probe/sweep"
)

// The socket's types.
type (
	Conn   = ether.Conn
	Packet = ether.Packet
	Local  = ether.Local
)

// Config is one sweep.
type Config struct {
	Conn      Conn          // opened beforehand, and closed by Run; nil opens Interface
	Interface string        // used when Conn is nil
	Targets   []netip.Addr  // IPv4, each once
	Source    netip.Addr    // the address to ask from; zero: the interface's, the one that shares the first target's subnet if any
	ProbeMode bool          // ask from 0.0.0.0 (RFC 5227 2.1.1): touches nobody's neighbour cache
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
		if !target.Is4() || target.IsUnspecified() {
			return fmt.Errorf("target %s is not an IPv4 address", target)
		}
		return nil
	})
	if err == nil && c.Source.IsValid() && !c.Source.Is4() {
		return fmt.Errorf("source %s is not an IPv4 address", c.Source)
	}
	return err
}

// source is the sender protocol address of the probes.
func (c Config) source(local Local) (netip.Addr, error) {
	switch {
	case c.ProbeMode:
		return netip.IPv4Unspecified(), nil
	case c.Source.IsValid():
		return c.Source, nil
	}
	var first netip.Addr
	for _, prefix := range local.Addresses {
		if !prefix.Addr().Is4() {
			continue
		}
		if prefix.Masked().Contains(c.Targets[0]) {
			return prefix.Addr(), nil
		}
		if !first.IsValid() {
			first = prefix.Addr()
		}
	}
	if !first.IsValid() {
		return first, fmt.Errorf("interface %s has no IPv4 address: give a source, or use probe mode", local.Interface)
	}
	return first, nil
}

// Open opens a socket for ARP on the named interface of the calling thread's network
// namespace; see ether.Open.
func Open(name string) (Conn, error) {
	program, err := filter()
	if err != nil {
		return nil, err
	}
	return ether.Open("arp", name, program)
}

// Run asks for every target Count times and records every answer until Settle
// after the last probe. All probes are broadcast: an answer to a unicast one
// would tell of one host only. It returns an error when the configuration is
// wrong, when no frame can be received, and when w fails; a probe that cannot be
// sent (a link that is down is what some scenarios are about) is only recorded.
func Run(ctx context.Context, c Config, w *stream.Writer) error {
	start := probe.Start{Instrument: "arp", Interface: c.Interface}
	args := probe.ARPArgs{
		Targets: c.Targets, Count: c.Count, IntervalNS: c.sweep().Round().Nanoseconds(), MaxRate: c.MaxRate,
		SettleNS: c.Settle.Nanoseconds(), ProbeMode: c.ProbeMode,
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
		return probe.ARPTotals{
			Sent: t.Sent, SendErrors: t.SendErrors, Replies: t.Replies, Gratuitous: t.Unsolicited, Ignored: t.Ignored,
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
	mac    HardwareAddr
}

func (a asker) Ask(target netip.Addr) []byte {
	return Frame{
		EthernetDestination: Broadcast(), EthernetSource: a.mac,
		Op: OpRequest, SenderMAC: a.mac, SenderIP: a.source, TargetIP: target,
	}.Bytes()
}

func (asker) Asked(s sweep.Sent) (string, any) {
	record := probe.ARPProbe{Probe: s.Probe, Target: s.Target, SentNS: s.SentNS, KernelNS: s.KernelNS}
	if s.Err != nil {
		record.Error = s.Err.Error()
	}
	return probe.KindARPProbe, record
}

func (a asker) Hear(p Packet, find sweep.Find) sweep.Heard {
	frame, err := Parse(p.Frame)
	if err != nil {
		return sweep.Heard{Class: sweep.Malformed}
	}
	number, at, monitored := find(frame.SenderIP, p.ReceivedNS)
	switch {
	// An answer to us counts however it was addressed: a responder that broadcasts its
	// replies (RFC 5227 2.6 allows it) must not be hidden among the announcements.
	case monitored && frame.Op == OpReply && frame.TargetMAC == a.mac:
		return sweep.Heard{Class: sweep.Reply, Kind: probe.KindARPReply, Body: probe.ARPReply{
			Probe: number, Target: frame.SenderIP, SenderMAC: frame.SenderMAC.String(),
			EthernetSource: frame.EthernetSource.String(), SentNS: at, ReceivedNS: p.ReceivedNS, VLAN: p.VLAN,
		}}
	case monitored && frame.Gratuitous():
		op := "request"
		if frame.Op == OpReply {
			op = "reply"
		}
		return sweep.Heard{Class: sweep.Unsolicited, Kind: probe.KindARPGratuitous, Body: probe.ARPGratuitous{
			Op: op, Address: frame.SenderIP, SenderMAC: frame.SenderMAC.String(),
			EthernetSource: frame.EthernetSource.String(), ReceivedNS: p.ReceivedNS, VLAN: p.VLAN,
		}}
	}
	return sweep.Heard{Class: sweep.Ignored}
}
