// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// udpPorts are what the datagrams of udp-echo are sent from; see payloadPorts.
const udpPorts = "26000-31999"

// datagramSize is what the datagrams of udp-echo have, in bytes.
const datagramSize = 32

// udpSpeedup is how much faster than limits.requestRate datagrams are sent: each costs the
// machine a fraction of a connection.
const udpSpeedup = 2

// observeUDP asks by datagrams who answers for the VIP of policy Cluster, and then, from
// the same ports and in the same order, for that of policy Local: a client's port that
// comes again for another VIP is nothing unusual.
func observeUDP(ctx context.Context, e *Env, o *journal.Observation) error {
	targets, missing, err := e.vipTargets(ctx, probe.ExchangeAsk, "", func(s journal.Service) (int, bool) {
		return s.UDPPort, s.Role == "" && !s.BackendsOffAnnouncer && s.UDPPort != 0
	})
	if err != nil {
		return err
	}
	if targets == nil {
		return unassigned(o, missing)
	}
	for i := range targets {
		targets[i].Bytes, targets[i].Stream = datagramSize, journal.StreamUDP+"@"+targets[i].Service
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	client, err := e.freshClient(ctx)
	if err != nil {
		return err
	}
	limits := e.Scenario.Spec.Limits
	x := exchanges{count: limits.Requests, interval: time.Second / time.Duration(udpSpeedup*limits.RequestRate), timeout: requestTimeout, ports: udpPorts}
	for i := range targets {
		if err := e.exchange(ctx, o, client, targets[i:i+1], x); err != nil {
			return err
		}
	}
	return nil
}
