// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package watch sends several kinds of traffic side by side for as long as a disruption
// lasts, and records when each of them failed and came back, and who answered ARP and
// neighbour discovery meanwhile, in one timeline. What the records amount to is for package timeline to say.
package watch

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
	"github.com/lbmatrix/lbmatrix/harness/probe/machine"
	"github.com/lbmatrix/lbmatrix/harness/probe/request"
)

// Config is one run. At least one of New, Long, UDP, ARP.VIP and NDP.VIP is given; zero fields
// take the defaults named.
type Config struct {
	New  string // host:port for new connections
	Mode string // of them: probe.ModeTCPConnect or probe.ModeHTTPNew; the latter
	Long string // host:port of a TCP echo for the long-lived connection
	UDP  string // host:port of a UDP echo
	ARP  ARP
	NDP  NDP

	Interval  time.Duration       // between two probes of a kind, 100us to 1h; 10ms
	Timeout   time.Duration       // of one probe; 500ms: below the initial retransmission timeout (RFC 6298), so that each asks once
	Reconnect time.Duration       // the long-lived connection is given up when silent for this long; 10s
	Recovered int                 // successes in a row that end an outage; 3
	Duration  time.Duration       // 0: until stopped
	Bucket    time.Duration       // 100ms
	Payload   int                 // bytes of a datagram; 32
	Source    netip.Addr          // our own address; zero: the kernel's choice
	Sleep     func(time.Duration) // see pace.New
	Dial      request.DialFunc    // how to connect; nil: from the namespace of the process, bound to Source
}

// ARP says how to watch who answers for an address.
type ARP struct {
	VIP       netip.Addr    // IPv4; zero: not watched
	Interface string        // on the segment
	Passive   bool          // only listen
	OwnMAC    bool          // ask from a locally administered MAC of our own, in promiscuous mode, so that the kernel ignores the answers
	Source    netip.Addr    // sender protocol address; zero: 0.0.0.0 (RFC 5227), which touches nobody's cache
	Grace     time.Duration // a silence up to this is no failure; 50ms
	Open      OpenFunc      // nil: arp.Open, and promiscuous where OwnMAC or Passive says so
}

// OpenFunc opens the socket. The returned func releases what it needed besides.
type OpenFunc func(name string, promiscuous bool) (arp.Conn, func() error, error)

func (c Config) withDefaults() (Config, error) {
	c.Mode = orDefault(c.Mode, probe.ModeHTTPNew)
	c.Interval = orDefault(c.Interval, 10*time.Millisecond)
	c.Timeout = orDefault(c.Timeout, 500*time.Millisecond)
	c.Reconnect = orDefault(c.Reconnect, 10*time.Second)
	c.Recovered = orDefault(c.Recovered, 3)
	c.Bucket = orDefault(c.Bucket, 100*time.Millisecond)
	c.Payload = orDefault(c.Payload, 32)
	c.ARP.Grace = orDefault(c.ARP.Grace, 50*time.Millisecond)
	c.NDP.Grace = orDefault(c.NDP.Grace, 50*time.Millisecond)
	c.ARP.Source = orDefault(c.ARP.Source, netip.IPv4Unspecified())
	if c.ARP.Open == nil {
		c.ARP.Open = openARP
	}
	if c.NDP.Open == nil {
		c.NDP.Open = openNDP
	}
	for _, address := range []string{c.New, c.Long, c.UDP} {
		if address == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return c, fmt.Errorf("target %s: %w", address, err)
		}
	}
	switch {
	case c.New == "" && c.Long == "" && c.UDP == "" && !c.ARP.VIP.IsValid() && !c.NDP.VIP.IsValid():
		return c, errors.New("nothing to watch")
	case c.Mode != probe.ModeTCPConnect && c.Mode != probe.ModeHTTPNew:
		return c, fmt.Errorf("new connections have mode %s or %s, not %q", probe.ModeTCPConnect, probe.ModeHTTPNew, c.Mode)
	case c.Interval < 100*time.Microsecond || c.Interval > time.Hour:
		return c, fmt.Errorf("interval %s is not 100us to 1h", c.Interval)
	case c.Timeout < 0 || c.Reconnect < 0 || c.Recovered < 0 || c.Duration < 0 || c.ARP.Grace < 0 || c.NDP.Grace < 0:
		return c, errors.New("counts and durations must not be negative")
	case c.Bucket < time.Millisecond:
		return c, errors.New("bucket must be at least 1ms")
	case c.Payload < 1 || c.Payload > 65507:
		return c, fmt.Errorf("payload of %d bytes is not 1 to 65507", c.Payload)
	case c.ARP.VIP.IsValid() && (!c.ARP.VIP.Is4() || c.ARP.VIP.IsUnspecified()):
		return c, fmt.Errorf("%s is not an IPv4 address to ask for", c.ARP.VIP)
	case c.ARP.VIP.IsValid() && c.ARP.Interface == "":
		return c, errors.New("arp needs an interface")
	case !c.ARP.Source.Is4():
		return c, fmt.Errorf("%s is not an IPv4 address to ask from", c.ARP.Source)
	}
	return c, c.NDP.check()
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// maxInFlight is how many probes of a kind may be unfinished: twice what a complete
// silence leaves so.
func (c Config) maxInFlight() int {
	return 64 + int(2*c.Timeout/c.Interval)
}

func (c Config) args(start time.Time, mac string) probe.WatchArgs {
	args := probe.WatchArgs{
		Recovered: c.Recovered, DurationNS: c.Duration.Nanoseconds(), BucketMS: int(c.Bucket.Milliseconds()), StartNS: start.UnixNano(),
		Realtime: machine.Realtime(),
	}
	add := func(traffic, mode, target string) {
		if target != "" {
			args.Traffic = append(args.Traffic, probe.WatchTraffic{
				Traffic: traffic, Mode: mode, Target: target, IntervalNS: c.Interval.Nanoseconds(), TimeoutNS: c.Timeout.Nanoseconds(),
			})
		}
	}
	add(probe.TrafficNew, c.Mode, c.New)
	add(probe.TrafficLong, "", c.Long)
	add(probe.TrafficUDP, "", c.UDP)
	if c.ARP.VIP.IsValid() {
		args.Traffic = append(args.Traffic, probe.WatchTraffic{
			Traffic: probe.TrafficARP, Target: c.ARP.VIP.String(), IntervalNS: c.Interval.Nanoseconds(), TimeoutNS: c.ARP.Grace.Nanoseconds(),
			Interface: c.ARP.Interface, MAC: mac, Source: c.ARP.Source, Passive: c.ARP.Passive,
		})
	}
	if c.NDP.VIP.IsValid() {
		args.Traffic = append(args.Traffic, probe.WatchTraffic{
			Traffic: probe.TrafficNDP, Target: c.NDP.VIP.String(), TimeoutNS: c.NDP.Grace.Nanoseconds(), Interface: c.NDP.Interface, Passive: true,
		})
	}
	return args
}
