// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// datagramSizes are the payloads of datagrams, in bytes. 32 is the control: nothing drops
// it for its size. 1400 leaves room for an overlay's header in an MTU of 1500, 1472 fills
// that MTU (20 bytes of IP, 8 of UDP), 8000 comes in fragments.
func datagramSizes() []int { return []int{32, 1400, 1472, 8000} }

const (
	responseSize = 1 << 20 // bytes of a large response
	transferSize = 8 << 20 // bytes of a response whose time is taken: some hundred round trips' worth

	exchangeInterval = 10 * time.Millisecond // between the starts of two exchanges
	transferTimeout  = 3 * time.Second       // of one transfer: 2.8 MB/s
)

// observePayloads sends datagrams of several sizes, and asks for large responses, through
// the VIP whose backends are off its announcer: each crosses from one node to another,
// where an MTU, a tunnel's header or the option that DSR adds tell.
func observePayloads(ctx context.Context, e *Env, o *journal.Observation) error {
	remote, err := e.remote(ctx)
	if err != nil {
		return err
	}
	if remote.VIP == "" {
		return unassigned(o, remote.Name)
	}
	var targets []journal.Target
	for _, n := range datagramSizes() {
		targets = append(targets, journal.Target{
			Name: fmt.Sprintf("udp-%d", n), Service: remote.Name, Kind: journal.TargetVIP, Protocol: probe.ExchangeUDP,
			Address: hostPort(remote.VIP, remote.UDPPort), Bytes: n, Stream: journal.StreamPayloads,
		})
	}
	targets = append(targets, journal.Target{
		Name: fmt.Sprintf("http-%d", responseSize), Service: remote.Name, Kind: journal.TargetVIP, Protocol: probe.ExchangeHTTP,
		Address: hostPort(remote.VIP, remote.Port), Bytes: responseSize, Stream: journal.StreamPayloads,
	})
	client, err := e.freshClient(ctx)
	if err != nil {
		return err
	}
	return e.exchange(ctx, o, client, targets, e.Scenario.Spec.Limits.Exchanges, exchangeInterval, requestTimeout)
}

// observeThroughput takes the time of large responses through the VIP whose backends are
// off its announcer and through the NodePort on that announcer, in turns: both go to the
// same backends by the same machines.
func observeThroughput(ctx context.Context, e *Env, o *journal.Observation) error {
	remote, err := e.remote(ctx)
	if err != nil {
		return err
	}
	node, answered, err := e.announcerOf(ctx, remote.VIP)
	if err != nil {
		return err
	}
	if node.Name == "" {
		return unannounced(o, remote, answered) // there is no NodePort path to hold the VIP's against
	}
	client, err := e.Cluster.Client(ctx)
	if err != nil {
		return fmt.Errorf("reach the client: %w", err)
	}
	targets := []journal.Target{
		{Name: "vip", Service: remote.Name, Kind: journal.TargetVIP, Address: hostPort(remote.VIP, remote.Port)},
		{Name: "nodeport", Service: remote.Name, Kind: journal.TargetNodePort, Node: node.Name, Address: hostPort(node.Address, remote.NodePort)},
	}
	for i := range targets {
		targets[i].Protocol, targets[i].Bytes, targets[i].Stream = probe.ExchangeHTTP, transferSize, journal.StreamBulk
	}
	return e.exchange(ctx, o, client, targets, e.Scenario.Spec.Limits.Transfers, 0, transferTimeout)
}

// remote is the Service whose backends are kept off its announcer; it may lack a VIP.
func (e *Env) remote(ctx context.Context) (journal.Service, error) {
	services, err := e.Services(ctx)
	if err != nil {
		return journal.Service{}, err
	}
	for _, s := range services {
		if s.BackendsOffAnnouncer {
			return s, nil
		}
	}
	return journal.Service{}, errors.New("no Service has its backends off its announcer")
}

// exchange runs the exchange instrument with count exchanges with each target. All
// targets are of one stream.
func (e *Env) exchange(ctx context.Context, o *journal.Observation, client cluster.Host, targets []journal.Target, count int, interval, timeout time.Duration) error {
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	args := []string{"exchange", "--count", strconv.Itoa(count), "--interval", interval.String(), "--timeout", timeout.String()}
	for _, t := range targets {
		args = append(args, "--target", fmt.Sprintf("%s=%s://%s/%d", t.Name, t.Protocol, t.Address, t.Bytes))
	}
	work := time.Duration(count*len(targets))*interval + timeout
	if interval == 0 {
		work = time.Duration(count*len(targets)) * timeout
	}
	_, err := e.instrument(ctx, o, client, targets[0].Stream, work, args...)
	return err
}
