// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package selftest

import (
	"context"
	"net/netip"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
	"github.com/lbmatrix/lbmatrix/harness/probe/ndp"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/harness/world"
)

// serviceSix is the Service with an IPv6 VIP alone, as of a real scenario.
const serviceSix = "echo-six"

// addr6 is an address of the IPv6 segment, of the documentation's prefix (RFC 3849).
func addr6(n byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 15: n})
}

func vip6() netip.Addr { return addr6(40) }

func onLink(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 64) }

// sixWorlds are about who advertises an IPv6 VIP, and what becomes of requests to it.
func sixWorlds() []World {
	const ndp, reachable = "ndp-single-responder", "reachable-ipv6"
	return []World{
		{
			Name: "ipv6-served", Truth: "one node has the IPv6 VIP and answers every request",
			Spec: dual, Build: owned(world.Behaviour{}, nil), Want: map[string]string{ndp: codeOK, reachable: codeOK},
		},
		{
			Name: "ipv6-two-responders", Truth: "another node answers neighbour solicitations for the VIP as well",
			Spec: dual, Build: owned(world.Behaviour{}, func(s *Site) error { return advertise(s.nodes[2], nil) }),
			Want: map[string]string{ndp: "responders=2"},
		},
		{
			Name: "ipv6-second-answers-1-in-10", Truth: "another node answers one solicitation in ten",
			Spec: dual, Build: owned(world.Behaviour{}, func(s *Site) error { return advertise(s.nodes[2], world.Every(10)) }),
			Want: map[string]string{ndp: "responders=2"},
		},
		{
			Name: "ipv6-nobody", Truth: "nobody answers for the VIP, every node does for its own address",
			Spec: dual, Build: func(_ context.Context, s *Site) error { return s.addSix() },
			Want: map[string]string{ndp: "responders=0", reachable: "unreachable"},
		},
		{
			Name: "ipv6-unanswered", Truth: "a node answers four solicitations of five",
			Spec: dual, Build: func(_ context.Context, s *Site) error {
				if err := s.addSix(); err != nil {
					return err
				}
				return advertise(s.nodes[1], func(n int) bool { return n%5 != 0 })
			},
			Want: map[string]string{ndp: "unanswered"},
		},
		{
			Name: "ipv6-hangs-up", Truth: "every tenth connection to the VIP is closed without an answer",
			Spec: dual, Build: owned(world.Behaviour{HangUp: 10}, nil), Want: map[string]string{ndp: codeOK, reachable: "errors"},
		},
	}
}

func dual(sc *scenario.Scenario) { sc.Spec.Cluster.IPFamily = scenario.Dual }

// addSix gives every host an IPv6 address.
func (s *Site) addSix() error {
	s.six = true
	hosts := map[byte]*world.Host{200: s.client, 201: s.observer}
	for i, n := range s.nodes {
		hosts[byte(2+i)] = n.Host
	}
	for n, h := range hosts {
		if err := h.AddAddress(onLink(addr6(n))); err != nil {
			return err
		}
	}
	return nil
}

// owned is a site one of whose workers has the VIP and serves it, changed by more.
func owned(b world.Behaviour, more func(*Site) error) func(context.Context, *Site) error {
	return func(ctx context.Context, s *Site) error {
		err := s.addSix()
		if err == nil {
			err = s.nodes[1].AddAddress(onLink(vip6()))
		}
		if err == nil {
			err = s.nodes[1].Listen(ctx, netip.AddrPortFrom(vip6(), servicePort), b)
		}
		if err == nil && more != nil {
			err = more(s)
		}
		return err
	}
}

// advertise makes a node answer neighbour solicitations for the VIP.
func advertise(n *world.Node, answers func(int) bool) error {
	_, err := n.RespondNDP(world.Script{Addresses: []netip.Addr{vip6()}, Answers: answers})
	return err
}

// observeNDP solicits the VIP, and every node's own address.
func observeNDP(ctx context.Context, s *Site, o *journal.Observation, limits scenario.Limits) error {
	targets := []journal.Target{{Service: serviceSix, Kind: journal.TargetVIP, Address: vip6().String(), Stream: journal.StreamNDP}}
	targets = append(targets, s.controls(journal.StreamNDP)...)
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	var conn ether.Conn
	err := s.observer.Do(func() (err error) {
		conn, err = ndp.Open(world.Interface)
		return err
	})
	if err != nil {
		return err
	}
	if s.options.Conn != nil {
		conn = s.options.Conn(conn)
	}
	c := ndp.Config{Conn: conn, Source: addr6(201), Count: limits.ARPProbes, Interval: limits.ARPInterval.D(), Settle: settle}
	for _, t := range targets {
		c.Targets = append(c.Targets, netip.MustParseAddr(t.Address))
	}
	return ndp.Run(ctx, c, stream.NewWriter(o.Stream(journal.StreamNDP)))
}

// observeTraffic6 asks the VIP from a client that has not resolved it yet.
func observeTraffic6(ctx context.Context, s *Site, o *journal.Observation, limits scenario.Limits) error {
	targets := []journal.Target{{
		Name: serviceSix, Service: serviceSix, Kind: journal.TargetVIP, Protocol: "http",
		Address: netip.AddrPortFrom(vip6(), servicePort).String(), Stream: journal.StreamHTTP6,
	}}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	_, err := s.load(ctx, o.Stream(journal.StreamHTTP6), s.client.Dial, probe.ModeHTTPNew, targets, limits.RequestRate, limits.Requests, 0)
	return err
}
