// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/pace"
	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// requestTimeout is how long one request may take: three times the initial
// retransmission timeout of 1 s (RFC 6298) would hide a lost SYN, so it is just above one.
const requestTimeout = 1500 * time.Millisecond

// observeTraffic sends HTTP requests on new connections to every VIP, from a client
// that has to resolve them anew.
func observeTraffic(ctx context.Context, e *Env, o *journal.Observation) error {
	targets, missing, err := e.vipTargets(ctx, "http", journal.StreamHTTP, func(s journal.Service) (int, bool) { return s.Port, s.Role != journal.RoleIdle })
	if err != nil {
		return err
	}
	if targets == nil {
		return unassigned(o, missing)
	}
	client, err := e.freshClient(ctx)
	if err != nil {
		return err
	}
	return e.sentAll(ctx, o, client, journal.StreamHTTP, targets)
}

// A run whose requests are counted is made until the client has sent all of them, each time at
// half the rate: a machine that is busy or emulated may not carry what was asked for. One in
// which a request failed stands: that must not be thrown away for what it measured.
const (
	sentAttempts = 3
	sentPause    = time.Second // before the second attempt; it doubles
)

// sentAll makes limits.requests HTTP requests to each target, on new connections, until the
// client was not what failed, and writes down what was asked.
func (e *Env) sentAll(ctx context.Context, o *journal.Observation, client cluster.Host, stream string, targets []journal.Target) error {
	limits := e.Scenario.Spec.Limits
	var discarded []string
	last, n := "", 0
	err := attempts(ctx, sentAttempts, sentPause, func() (bool, error) {
		if n++; n > 1 {
			discarded = append(discarded, last)
		}
		last = journal.AttemptStream(stream, n)
		totals, err := e.loadAs(ctx, o, client, loadRun{stream: last, mode: probe.ModeHTTPNew, targets: targets, count: limits.Requests, perSecond: max(1, limits.RequestRate>>(n-1))})
		if err != nil {
			return false, err
		}
		if totals.Unsent() {
			e.Progress(fmt.Sprintf("attempt %d of %d: the client never sent %d of %d requests", n, sentAttempts, totals.Dropped+totals.Cancelled, totals.Scheduled))
		}
		return !totals.Unsent(), nil
	})
	if err != nil {
		return err
	}
	for i := range targets {
		targets[i].Stream = last
	}
	return o.Write(journal.KindPaths, journal.Paths{Targets: targets, Discarded: discarded})
}

// vipTargets lists the VIPs of the Services that port selects, with the port to ask. Where
// one of them has no VIP it returns no target and that Service's name: what the others
// would show is nothing beside it.
func (e *Env) vipTargets(ctx context.Context, protocol, stream string, port func(journal.Service) (int, bool)) (targets []journal.Target, missing string, err error) {
	services, err := e.Services(ctx)
	if err != nil {
		return nil, "", err
	}
	for _, s := range services {
		p, ok := port(s)
		if !ok {
			continue
		}
		if s.VIP == "" {
			return nil, s.Name, nil
		}
		targets = append(targets, journal.Target{
			Name: s.Name, Service: s.Name, Kind: journal.TargetVIP, Protocol: protocol, Address: hostPort(s.VIP, p), Stream: stream,
		})
	}
	if len(targets) == 0 {
		return nil, "", fmt.Errorf("no Service under test is asked by %s", protocol)
	}
	return targets, "", nil
}

// unassigned records that nothing was measured for want of a Service's VIP: a fact, and
// the checks' verdict.
func unassigned(o *journal.Observation, service string) error {
	return o.Write(journal.KindPaths, journal.Paths{Unmeasured: &journal.Unmeasured{Service: service}})
}

// unannounced records that nothing was measured for want of one node that announces a
// Service, and who answered instead.
func unannounced(o *journal.Observation, s journal.Service, answered []string) error {
	return o.Write(journal.KindPaths, journal.Paths{Unmeasured: &journal.Unmeasured{Service: s.Name, VIP: s.VIP, AnsweredBy: answered}})
}

// observeLatency measures the VIP and the NodePort on its announcer alternately, so
// that whatever else the machine does disturbs both alike.
func observeLatency(ctx context.Context, e *Env, o *journal.Observation) error {
	var objs journal.Objects
	if err := e.services(ctx, &objs); err != nil {
		return err
	}
	i := serviceIndex(objs, "Cluster")
	if i < 0 {
		return fmt.Errorf("no Service has externalTrafficPolicy Cluster")
	}
	s := objs.Services[i]
	node, answered, err := e.announcerOf(ctx, s.VIP)
	if err != nil {
		return err
	}
	if node.Name == "" {
		// Without an announcer there is no NodePort path to hold the VIP's against.
		return unannounced(o, s, answered)
	}
	runs := []struct{ stream, mode, protocol string }{
		{journal.StreamConnect, "tcp-connect", "tcp"},
		{journal.StreamRequest, "http-new", "http"},
	}
	client, err := e.Cluster.Client(ctx)
	if err != nil {
		return fmt.Errorf("reach the client: %w", err)
	}
	var paths journal.Paths
	for _, r := range runs {
		targets := []journal.Target{
			{Name: "vip", Service: s.Name, Kind: journal.TargetVIP, Protocol: r.protocol, Address: hostPort(s.VIP, s.Port)},
			{Name: "nodeport", Service: s.Name, Kind: journal.TargetNodePort, Protocol: r.protocol, Node: node.Name, Address: hostPort(node.Address, s.NodePort)},
		}
		stream, discarded, err := e.keptSchedule(ctx, o, client, r.stream, r.mode, targets)
		if err != nil {
			return err
		}
		for i := range targets {
			targets[i].Stream = stream
		}
		paths.Targets = append(paths.Targets, targets...)
		paths.Discarded = append(paths.Discarded, discarded...)
	}
	return o.Write(journal.KindPaths, paths)
}

// A latency run is made until the client keeps its schedule: other work on the machine,
// or of its neighbours, comes in bursts, which the pauses between the attempts outlast.
const latencyPause = 2 * time.Second // before the second attempt; it doubles

// keptSchedule makes a latency run until the client was not what was measured. It
// returns the stream of the last attempt and those of the ones before, which only the
// client's own lateness discards, never what they measured.
func (e *Env) keptSchedule(ctx context.Context, o *journal.Observation, client cluster.Host, stream, mode string, targets []journal.Target) (last string, discarded []string, err error) {
	limits := e.Scenario.Spec.Limits
	n := 0
	err = attempts(ctx, journal.LatencyAttempts, latencyPause, func() (bool, error) {
		if n++; n > 1 {
			discarded = append(discarded, last)
		}
		last = journal.AttemptStream(stream, n)
		totals, err := e.loadAs(ctx, o, client, loadRun{
			stream: last, mode: mode, targets: targets, count: limits.LatencyRequests, warmup: latencyWarmup, perSecond: limits.RequestRate, realtime: true,
		})
		if err != nil {
			return false, err
		}
		behind := totals.Behind(journal.MaxLateShare)
		if behind {
			e.Progress(fmt.Sprintf("attempt %d of %d at latency: the client was late for %d of %d requests (hypervisor steal %.0f %%)",
				n, journal.LatencyAttempts, totals.Late, totals.Scheduled, 100*totals.StealRatio))
		}
		return !behind, nil
	})
	if err != nil {
		return "", nil, fmt.Errorf("measure %s latency: %w", stream, err)
	}
	return last, discarded, nil
}

// latencyWarmup is how many requests a path is excluded from the figures: they pay for
// ARP, conntrack and the first scheduling of client and backend.
const latencyWarmup = 50

// lateAfter is what a request may be sent after its due time before it counts as late:
// a few turns of the scheduler, on a machine that also runs the whole cluster. Its
// latency counts from the due time all the same.
const lateAfter = 5 * time.Millisecond

// load runs the load instrument with count measured requests to each target.
func (e *Env) load(ctx context.Context, o *journal.Observation, client cluster.Host, stream, mode string, targets []journal.Target, count, warmup int) (probe.LoadTotals, error) {
	return e.loadAs(ctx, o, client, loadRun{stream: stream, mode: mode, targets: targets, count: count, warmup: warmup, perSecond: e.Scenario.Spec.Limits.RequestRate})
}

// loadRun is one run of the load instrument.
type loadRun struct {
	stream, mode  string
	targets       []journal.Target
	count, warmup int  // for each target: measured requests, and those before them
	perSecond     int  // for each target, on an ordinary machine
	realtime      bool // the client goes before all else on its machine, where that is allowed
}

func (e *Env) loadAs(ctx context.Context, o *journal.Observation, client cluster.Host, r loadRun) (probe.LoadTotals, error) {
	rate := pace.Rate(ctx, r.perSecond*len(r.targets))
	total := (r.count + r.warmup) * len(r.targets)
	timeout := pace.Scale(ctx, requestTimeout)
	args := []string{
		"load", "--mode", r.mode, "--rate", strconv.Itoa(rate), "--count", strconv.Itoa(total),
		"--warmup", strconv.Itoa(r.warmup * len(r.targets)), "--timeout", timeout.String(), "--late", lateAfter.String(),
	}
	if r.realtime {
		args = append(args, "--realtime")
	}
	for _, t := range r.targets {
		args = append(args, "--target", t.Name+"="+t.Address)
	}
	end, err := e.instrument(ctx, o, client, r.stream, loadTime(ctx, r.count+r.warmup, r.perSecond), args...)
	if err != nil {
		return probe.LoadTotals{}, err
	}
	var totals probe.LoadTotals
	if err := json.Unmarshal(end.Totals, &totals); err != nil {
		return totals, fmt.Errorf("read the totals of instrument %s: %w", r.stream, err)
	}
	return totals, nil
}

// loadTime is how long count requests to each target take, at so many a second for each.
func loadTime(ctx context.Context, count, perSecond int) time.Duration {
	return time.Duration(float64(count)/float64(perSecond)*float64(time.Second)) + pace.Scale(ctx, requestTimeout)
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
		if s.ExternalTrafficPolicy == policy && s.Role == "" && !s.BackendsOffAnnouncer {
			return i
		}
	}
	return -1
}

func hostPort(addr string, port int) string { return net.JoinHostPort(addr, strconv.Itoa(port)) }
