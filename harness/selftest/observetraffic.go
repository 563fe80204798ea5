// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package selftest

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/exchange"
	"github.com/lbmatrix/lbmatrix/harness/probe/load"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

const (
	responseSize     = 1 << 20               // bytes of a large response, and of a transfer
	exchangeInterval = 5 * time.Millisecond  // between the starts of two exchanges
	transferTimeout  = 3 * time.Second       // of one transfer
	takeoverInterval = 20 * time.Millisecond // between two who-has for one VIP
	takeoverRounds   = 40
	datagramSize     = 32 // bytes
	// What datagrams are sent from: below the ports that Linux gives by itself.
	firstPort, lastPort = 26000, 31999
)

// observeUDP asks both VIPs by datagrams, one after the other and from the same ports.
func observeUDP(ctx context.Context, s *Site, o *journal.Observation, limits scenario.Limits) error {
	var targets []journal.Target
	for _, name := range []string{serviceCluster, serviceLocal} {
		svc := s.service(name)
		t := target(svc.name, svc, journal.TargetVIP, probe.ExchangeAsk, svc.vip, serviceUDP, journal.StreamUDP+"@"+svc.name)
		t.Bytes = datagramSize
		targets = append(targets, t)
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	for i := range targets {
		c := exchange.Config{Count: limits.Requests, Interval: time.Second / time.Duration(limits.RequestRate), Timeout: requestTimeout, FirstPort: firstPort, LastPort: lastPort}
		if err := s.exchange(ctx, o, targets[i:i+1], c); err != nil {
			return err
		}
	}
	return nil
}

func observePayloads(ctx context.Context, s *Site, o *journal.Observation, limits scenario.Limits) error {
	svc := s.service(serviceRemote)
	var targets []journal.Target
	for _, n := range []int{32, 1400, 1472, 8000} {
		t := target(fmt.Sprintf("udp-%d", n), svc, journal.TargetVIP, probe.ExchangeUDP, svc.vip, serviceUDP, journal.StreamPayloads)
		t.Bytes = n
		targets = append(targets, t)
	}
	large := target(fmt.Sprintf("http-%d", responseSize), svc, journal.TargetVIP, probe.ExchangeHTTP, svc.vip, servicePort, journal.StreamPayloads)
	large.Bytes = responseSize
	targets = append(targets, large)
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	return s.exchange(ctx, o, targets, exchange.Config{Count: limits.Exchanges, Interval: exchangeInterval, Timeout: requestTimeout})
}

func observeThroughput(ctx context.Context, s *Site, o *journal.Observation, limits scenario.Limits) error {
	svc := s.service(serviceRemote)
	targets := []journal.Target{
		target("vip", svc, journal.TargetVIP, probe.ExchangeHTTP, svc.vip, servicePort, journal.StreamBulk),
		target("nodeport", svc, journal.TargetNodePort, probe.ExchangeHTTP, svc.announcer.Address, remotePort, journal.StreamBulk),
	}
	for i := range targets {
		targets[i].Bytes = responseSize
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	return s.exchange(ctx, o, targets, exchange.Config{Count: limits.Transfers, Timeout: transferTimeout})
}

// exchange runs the exchange instrument on the client. All targets are of one stream.
func (s *Site) exchange(ctx context.Context, o *journal.Observation, targets []journal.Target, c exchange.Config) error {
	if err := s.fresh(); err != nil {
		return err
	}
	c.Inside = s.client.Do
	for _, t := range targets {
		c.Targets = append(c.Targets, probe.ExchangeTarget{Name: t.Name, Protocol: t.Protocol, Address: t.Address, Bytes: t.Bytes})
	}
	return exchange.Run(ctx, c, stream.NewWriter(o.Stream(targets[0].Stream)))
}

// observeInCluster asks the VIPs of both policies from every node, and from a pod on each
// that has one.
func observeInCluster(ctx context.Context, s *Site, o *journal.Observation, limits scenario.Limits) error {
	clients := map[string]load.DialFunc{}
	var paths journal.Paths
	add := func(from, node, pod string, dial load.DialFunc) {
		name := from + "@" + node
		clients[name] = dial
		for _, service := range []string{serviceCluster, serviceLocal} {
			svc := s.service(service)
			t := target(svc.name, svc, journal.TargetVIP, "http", svc.vip, servicePort, name)
			t.Node, t.From, t.Pod = node, from, pod
			paths.Targets = append(paths.Targets, t)
		}
	}
	for _, n := range s.nodes {
		add(journal.FromNode, n.Name, "", n.Dial)
		if pods := s.podsOn(n); len(pods) > 0 {
			add(journal.FromPod, n.Name, pods[0].Name, pods[0].Dial)
		}
	}
	if err := o.Write(journal.KindPaths, paths); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for name, dial := range clients {
		var targets []journal.Target
		for _, t := range paths.Targets {
			if t.Stream == name {
				targets = append(targets, t)
			}
		}
		to := o.Stream(name)
		g.Go(func() error {
			_, err := s.load(gctx, to, dial, probe.ModeHTTPNew, targets, limits.RequestRate, limits.InClusterRequests, 0)
			return err
		})
	}
	return g.Wait()
}

// observeTakeover asks for the VIPs that are announced while they change hands.
func observeTakeover(ctx context.Context, s *Site, o *journal.Observation, _ scenario.Limits) error {
	var targets []journal.Target
	for _, svc := range s.services {
		if svc.name != serviceIdle {
			targets = append(targets, journal.Target{Name: svc.vip.String(), Service: svc.name, Kind: journal.TargetVIP, Address: svc.vip.String(), Stream: journal.StreamTakeover})
		}
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	return s.sweep(ctx, o, journal.StreamTakeover, targets, takeoverRounds, takeoverInterval)
}
