// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package selftest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
	"github.com/lbmatrix/lbmatrix/harness/probe/capture"
	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
	"github.com/lbmatrix/lbmatrix/harness/probe/load"
	"github.com/lbmatrix/lbmatrix/harness/probe/neigh"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/harness/world"
)

const (
	// settle is how long a sweep listens after its last broadcast, as in a real scenario:
	// answers come within a millisecond, but on a machine whose cores are wanted by thirty
	// others the responder, which is this process, may be half a second late.
	settle = time.Second
	// requestTimeout leaves time for one repetition of a lost SYN, which comes after 1 s
	// (RFC 6298 2.1), and not for the next, after 3 s; and for a machine that is very busy.
	requestTimeout = 2900 * time.Millisecond
	// lateAfter is as in a real scenario: the machine runs the world, too.
	lateAfter = 5 * time.Millisecond
	// warmup is how many requests a path is left out of the figures.
	warmup = 20
	// replyRequests is how many connections and datagrams the reply path is read from.
	replyRequests = 20
)

// observations drive the instruments of a site, as those of package observe drive them on
// a cluster. A check that needs another observation needs another line here.
func observations() map[string]func(context.Context, *Site, *journal.Observation, scenario.Limits) error {
	return map[string]func(context.Context, *Site, *journal.Observation, scenario.Limits) error{
		journal.ObsARP:          observeARP,
		journal.ObsMore:         observeMore,
		journal.ObsNDP:          observeNDP,
		journal.ObsTraffic6:     observeTraffic6,
		journal.ObsAnnouncement: observeAnnouncement,
		journal.ObsTraffic:      observeTraffic,
		journal.ObsReplyPath:    observeReplyPath,
		journal.ObsLatency:      observeLatency,
		journal.ObsUDP:          observeUDP,
		journal.ObsPayloads:     observePayloads,
		journal.ObsThroughput:   observeThroughput,
		journal.ObsInCluster:    observeInCluster,
		journal.ObsTakeover:     observeTakeover,
	}
}

// observe records everything that the checks of a world need.
func (s *Site) observe(ctx context.Context, out *journal.Writer, sc scenario.Scenario, ids []string) error {
	if err := out.Write(journal.KindTopology, s.topology()); err != nil {
		return err
	}
	if err := out.BeginPhase(journal.PhaseBaseline); err != nil {
		return err
	}
	for _, id := range ids {
		run, ok := observations()[id]
		if !ok {
			return fmt.Errorf("the selftest has no observation %s", id)
		}
		o, err := out.Begin(id)
		if err != nil {
			return err
		}
		err = run(ctx, s, o, sc.Spec.Limits)
		if err := errors.Join(err, o.End(err)); err != nil {
			return fmt.Errorf("observation %s: %w", id, err)
		}
	}
	return out.EndPhase()
}

func observeAnnouncement(_ context.Context, s *Site, o *journal.Observation, _ scenario.Limits) error {
	return o.Write(journal.KindObjects, s.objects())
}

// observeARP asks for every VIP, for every node's own address (the positive control) and
// for the addresses that must be silent.
func observeARP(ctx context.Context, s *Site, o *journal.Observation, limits scenario.Limits) error {
	var targets []journal.Target
	add := func(kind string, addr netip.Addr, svc string) {
		targets = append(targets, journal.Target{Name: addr.String(), Service: svc, Kind: kind, Address: addr.String(), Stream: journal.StreamARP})
	}
	for _, svc := range s.services {
		kind := journal.TargetVIP
		if svc.name == serviceIdle {
			kind = journal.TargetIdle
		}
		add(kind, svc.vip, svc.name)
	}
	targets = append(targets, s.controls(journal.StreamARP)...)
	add(journal.TargetSpare, spare(), "")
	add(journal.TargetUnassigned, unassigned(), "")
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	return s.sweep(ctx, o, journal.StreamARP, targets, limits.ARPProbes, limits.ARPInterval.D())
}

// controls are the nodes' own addresses, which a sweep must hear each node answer for.
func (s *Site) controls(stream string) []journal.Target {
	var out []journal.Target
	for i, n := range s.nodes {
		addr := n.Address
		if stream == journal.StreamNDP {
			addr = addr6(byte(2 + i))
		}
		out = append(out, journal.Target{Name: n.Name, Kind: journal.TargetNodeAddress, Address: addr.String(), Node: n.Name, Stream: stream})
	}
	return out
}

// moreProbes is as in a real scenario (package observe).
const moreProbes = 20

// observeMore asks for the VIPs of the Services beside those under test.
func observeMore(ctx context.Context, s *Site, o *journal.Observation, limits scenario.Limits) error {
	var targets []journal.Target
	for i, vip := range s.more {
		targets = append(targets, journal.Target{Service: fmt.Sprintf("more-%d", i), Kind: journal.TargetVIP, Address: vip.String(), Stream: journal.StreamARP})
	}
	targets = append(targets, s.controls(journal.StreamARP)...)
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	return s.sweep(ctx, o, journal.StreamARP, targets, moreProbes, limits.ARPInterval.D())
}

// sweep asks for targets from the observer.
func (s *Site) sweep(ctx context.Context, o *journal.Observation, name string, targets []journal.Target, count int, interval time.Duration) error {
	var conn ether.Conn
	err := s.observer.Do(func() (err error) {
		conn, err = arp.Open(world.Interface)
		return err
	})
	if err != nil {
		return err
	}
	if s.options.Conn != nil {
		conn = s.options.Conn(conn)
	}
	for _, before := range s.before {
		if err := before(); err != nil {
			return errors.Join(err, conn.Close())
		}
	}
	c := arp.Config{Conn: conn, Count: count, Interval: interval, Settle: settle}
	for _, t := range targets {
		c.Targets = append(c.Targets, netip.MustParseAddr(t.Address))
	}
	return arp.Run(ctx, c, stream.NewWriter(o.Stream(name)))
}

// fresh drops what the client has learned, unless the world is about that.
func (s *Site) fresh() error {
	if s.keepNeighbours {
		return nil
	}
	return s.client.Do(func() error {
		_, err := neigh.Flush(world.Interface)
		return err
	})
}

func observeTraffic(ctx context.Context, s *Site, o *journal.Observation, limits scenario.Limits) error {
	var targets []journal.Target
	for _, svc := range s.services {
		if svc.name != serviceIdle {
			targets = append(targets, target(svc.name, svc, journal.TargetVIP, "http", svc.vip, servicePort, journal.StreamHTTP))
		}
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	if err := s.fresh(); err != nil {
		return err
	}
	_, err := s.load(ctx, o.Stream(journal.StreamHTTP), s.client.Dial, probe.ModeHTTPNew, targets, limits.RequestRate, limits.Requests, 0)
	return err
}

func target(name string, svc *service, kind, protocol string, addr netip.Addr, port int, stream string) journal.Target {
	return journal.Target{
		Name: name, Service: svc.name, Kind: kind, Protocol: protocol,
		Address: netip.AddrPortFrom(addr, uint16(port)).String(), Stream: stream,
	}
}

// load runs the load instrument where dial connects from, with count measured requests to
// each target.
func (s *Site) load(ctx context.Context, to io.Writer, dial load.DialFunc, mode string, targets []journal.Target, rate, count, warmup int) (probe.LoadTotals, error) {
	c := load.Config{
		Mode: mode, Rate: float64(rate * len(targets)), Count: int64((count + warmup) * len(targets)), Warmup: int64(warmup * len(targets)),
		Timeout: requestTimeout, Late: lateAfter, Dial: dial,
	}
	for _, t := range targets {
		c.Targets = append(c.Targets, probe.LoadTarget{Name: t.Name, Address: t.Address})
	}
	if s.options.Load != nil {
		s.options.Load(&c)
	}
	last := &lastLine{to: to}
	if err := load.Run(ctx, c, stream.NewWriter(last)); err != nil {
		return probe.LoadTotals{}, err
	}
	var record probe.Record
	if err := json.Unmarshal(last.line, &record); err != nil {
		return probe.LoadTotals{}, fmt.Errorf("read the end of a load run: %w", err)
	}
	end, err := probe.Decode[probe.End](record)
	if err != nil {
		return probe.LoadTotals{}, err
	}
	return probe.Decode[probe.LoadTotals](probe.Record{Seq: record.Seq, Kind: record.Kind, Body: end.Totals})
}

// lastLine passes lines on and remembers the last: the writer of a stream writes each in
// one call.
type lastLine struct {
	to   io.Writer
	line []byte
}

func (l *lastLine) Write(p []byte) (int, error) {
	l.line = bytes.Clone(p)
	return l.to.Write(p)
}

func observeLatency(ctx context.Context, s *Site, o *journal.Observation, limits scenario.Limits) error {
	svc := s.service(serviceCluster)
	if err := s.fresh(); err != nil {
		return err
	}
	var paths journal.Paths
	for _, run := range []struct{ stream, mode, protocol string }{
		{journal.StreamConnect, probe.ModeTCPConnect, "tcp"}, {journal.StreamRequest, probe.ModeHTTPNew, "http"},
	} {
		targets := []journal.Target{
			target("vip", svc, journal.TargetVIP, run.protocol, svc.vip, servicePort, ""),
			target("nodeport", svc, journal.TargetNodePort, run.protocol, svc.announcer.Address, nodePort, ""),
		}
		// As package observe does it: a run whose client was not able to keep its schedule
		// measured this machine, and is made again.
		for n := 1; ; n++ {
			name := journal.AttemptStream(run.stream, n)
			totals, err := s.load(ctx, o.Stream(name), s.client.Dial, run.mode, targets, limits.RequestRate, limits.LatencyRequests, warmup)
			if err != nil {
				return err
			}
			if !totals.Behind(journal.MaxLateShare) || n == journal.LatencyAttempts {
				for i := range targets {
					targets[i].Stream = name
				}
				break
			}
			paths.Discarded = append(paths.Discarded, name)
		}
		paths.Targets = append(paths.Targets, targets...)
	}
	return o.Write(journal.KindPaths, paths)
}

func observeReplyPath(ctx context.Context, s *Site, o *journal.Observation, limits scenario.Limits) error {
	svc := s.service(serviceRemote)
	tcp := target(svc.name, svc, journal.TargetVIP, "tcp", svc.vip, servicePort, journal.StreamReplyTCP)
	udp := target(svc.name, svc, journal.TargetVIP, "udp", svc.vip, serviceUDP, journal.StreamReplyUDP)
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: []journal.Target{tcp, udp}}); err != nil {
		return err
	}
	if err := s.fresh(); err != nil {
		return err
	}
	stop, err := s.capture(ctx, o, svc.vip)
	if err != nil {
		return err
	}
	_, err = s.load(ctx, o.Stream(journal.StreamReplyTCP), s.client.Dial, probe.ModeHTTPNew, []journal.Target{tcp}, limits.RequestRate, replyRequests, 0)
	if err == nil {
		_, err = s.load(ctx, o.Stream(journal.StreamReplyUDP), s.client.Dial, probe.ModeUDPEcho, []journal.Target{udp}, limits.RequestRate, replyRequests, 0)
	}
	return errors.Join(err, stop())
}

// capture records on the client until stop is called; it has begun when it returns.
func (s *Site) capture(ctx context.Context, o *journal.Observation, addr netip.Addr) (stop func() error, err error) {
	stdin, closeStdin := io.Pipe()
	ctx, cancel := stream.Lifetime(ctx, stdin, time.Minute)
	listening := &firstWrite{to: o.Stream(journal.StreamCapture), seen: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		defer cancel()
		done <- s.client.Do(func() error {
			return capture.Run(ctx, capture.Config{Interface: world.Interface, Addresses: []netip.Addr{addr}}, stream.NewWriter(listening))
		})
	}()
	select {
	case <-listening.seen:
	case err := <-done:
		return nil, errors.Join(errors.New("the capture ended before it began"), err)
	}
	return func() error {
		return errors.Join(closeStdin.Close(), <-done)
	}, nil
}

// firstWrite says when the first line comes: an instrument writes it once it is ready.
type firstWrite struct {
	to   io.Writer
	once sync.Once
	seen chan struct{}
}

func (f *firstWrite) Write(p []byte) (int, error) {
	n, err := f.to.Write(p)
	f.once.Do(func() { close(f.seen) })
	return n, err
}

// number names things of a world in order.
func number(prefix string, n int) string { return prefix + strconv.Itoa(n) }
