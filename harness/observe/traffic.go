// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// requestTimeout is how long one request may take: three times the initial
// retransmission timeout of 1 s (RFC 6298) would hide a lost SYN, so it is just above one.
const requestTimeout = 1500 * time.Millisecond

// observeTraffic sends HTTP requests on new connections to every VIP, from a client
// that has to resolve them anew.
func observeTraffic(ctx context.Context, e *Env, o *journal.Observation) error {
	var objs journal.Objects
	if err := e.services(ctx, &objs); err != nil {
		return err
	}
	var targets []journal.Target
	for _, s := range objs.Services {
		if s.VIP == "" {
			return fmt.Errorf("service %s has no load-balancer address", s.Name)
		}
		targets = append(targets, journal.Target{
			Name: s.Name, Service: s.Name, Kind: journal.TargetVIP, Protocol: "http",
			Address: hostPort(s.VIP, s.Port), Stream: journal.StreamHTTP,
		})
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	client, err := e.freshClient(ctx)
	if err != nil {
		return err
	}
	limits := e.Scenario.Spec.Limits
	return e.load(ctx, o, client, journal.StreamHTTP, "http-new", targets, limits.Requests, 0)
}

// observeLatency measures the VIP and the NodePort on its announcer alternately, so
// that whatever else the machine does disturbs both alike.
func observeLatency(ctx context.Context, e *Env, o *journal.Observation) error {
	var objs journal.Objects
	if err := e.services(ctx, &objs); err != nil {
		return err
	}
	i := serviceIndex(objs, "Cluster")
	if i < 0 || objs.Services[i].VIP == "" {
		return fmt.Errorf("no Service with externalTrafficPolicy Cluster has a load-balancer address")
	}
	s := objs.Services[i]
	responders, err := e.Responders(ctx, []string{s.VIP})
	if err != nil {
		return err
	}
	node, ok := e.announcer(responders[s.VIP])
	if !ok {
		return fmt.Errorf("%s has no single announcer among the nodes (answered by %v), so there is no NodePort path to hold it against", s.VIP, responders[s.VIP])
	}
	runs := []struct{ stream, mode, protocol string }{
		{journal.StreamConnect, "tcp-connect", "tcp"},
		{journal.StreamRequest, "http-new", "http"},
	}
	var targets []journal.Target
	for _, r := range runs {
		targets = append(targets,
			journal.Target{Name: "vip", Service: s.Name, Kind: journal.TargetVIP, Protocol: r.protocol, Address: hostPort(s.VIP, s.Port), Stream: r.stream},
			journal.Target{Name: "nodeport", Service: s.Name, Kind: journal.TargetNodePort, Protocol: r.protocol, Node: node.Name, Address: hostPort(node.Address, s.NodePort), Stream: r.stream})
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	client, err := e.Cluster.Client(ctx)
	if err != nil {
		return fmt.Errorf("reach the client: %w", err)
	}
	for i, r := range runs {
		n := e.Scenario.Spec.Limits.LatencyRequests
		if err := e.load(ctx, o, client, r.stream, r.mode, targets[2*i:2*i+2], n, latencyWarmup); err != nil {
			return err
		}
	}
	return nil
}

// latencyWarmup is how many requests a path is excluded from the figures: they pay for
// ARP, conntrack and the first scheduling of client and backend.
const latencyWarmup = 50

// lateAfter is what a request may be sent after its due time before it counts as late:
// a few turns of the scheduler, on a machine that also runs the whole cluster. Its
// latency counts from the due time all the same.
const lateAfter = 5 * time.Millisecond

// load runs the load instrument with count measured requests to each target.
func (e *Env) load(ctx context.Context, o *journal.Observation, client cluster.Host, stream, mode string, targets []journal.Target, count, warmup int) error {
	rate := e.Scenario.Spec.Limits.RequestRate * len(targets)
	total := (count + warmup) * len(targets)
	args := []string{
		"load", "--mode", mode, "--rate", strconv.Itoa(rate), "--count", strconv.Itoa(total),
		"--warmup", strconv.Itoa(warmup * len(targets)), "--timeout", requestTimeout.String(), "--late", lateAfter.String(),
	}
	for _, t := range targets {
		args = append(args, "--target", t.Name+"="+t.Address)
	}
	work := time.Duration(float64(total)/float64(rate)*float64(time.Second)) + requestTimeout
	return e.instrument(ctx, o, client, stream, work, args...)
}

// freshClient returns the client with no neighbour entry left: an old one would
// carry traffic past a VIP that nobody announces any more.
func (e *Env) freshClient(ctx context.Context) (cluster.Host, error) {
	client, err := e.Cluster.Client(ctx)
	if err != nil {
		return nil, fmt.Errorf("reach the client: %w", err)
	}
	if _, err := cluster.Output(ctx, client, e.Probe, "neigh-flush", "--interface", segmentInterface); err != nil {
		return nil, fmt.Errorf("drop the client's neighbour entries: %w", err)
	}
	return client, nil
}

func serviceIndex(objs journal.Objects, policy string) int {
	for i, s := range objs.Services {
		if s.ExternalTrafficPolicy == policy {
			return i
		}
	}
	return -1
}

func hostPort(addr string, port int) string { return net.JoinHostPort(addr, strconv.Itoa(port)) }
