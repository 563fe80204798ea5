// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package arp

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// sweep is the state of one run.
type sweep struct {
	conn     Conn
	out      *stream.Writer
	targets  []netip.Addr
	source   netip.Addr
	mac      HardwareAddr
	count    int
	interval time.Duration
	settle   time.Duration

	// mu covers what follows, and is held while a probe is sent and written: a
	// reply is then always written after its probe. Receive times are the
	// kernel's, so waiting for it falsifies nothing.
	mu     sync.Mutex
	sent   map[netip.Addr][]sentProbe
	totals probe.ARPTotals
}

type sentProbe struct {
	number int
	at     int64 // ns since the epoch
}

// keepProbes bounds the memory of an endless sweep. An answer later than this
// many rounds is attributed to no probe.
const keepProbes = 1024

func newSweep(c Config, source netip.Addr, w *stream.Writer) *sweep {
	s := &sweep{
		conn: c.Conn, out: w, targets: c.Targets, source: source, mac: c.Conn.Local().MAC,
		count: c.Count, interval: c.Interval, settle: c.Settle,
		sent: make(map[netip.Addr][]sentProbe, len(c.Targets)),
	}
	for _, target := range c.Targets {
		s.sent[target] = nil
	}
	return s
}

// due is when target i of n is asked in a round, from the start of the sweep. A
// function of the number alone: a late probe does not delay the later ones.
func due(round, i, n int, interval time.Duration) time.Duration {
	return time.Duration(round)*interval + time.Duration(i)*interval/time.Duration(n)
}

// send asks on schedule and then listens for the settle time.
func (s *sweep) send(ctx context.Context) error {
	start := time.Now()
	for round := 0; s.count == 0 || round < s.count; round++ {
		for i, target := range s.targets {
			if err := sleepUntil(ctx, start.Add(due(round, i, len(s.targets), s.interval))); err != nil {
				return err
			}
			if err := s.ask(round, target); err != nil {
				return err
			}
		}
	}
	return sleepUntil(ctx, time.Now().Add(s.settle))
}

func (s *sweep) ask(round int, target netip.Addr) error {
	frame := Frame{
		EthernetDestination: Broadcast(), EthernetSource: s.mac,
		Op: OpRequest, SenderMAC: s.mac, SenderIP: s.source, TargetIP: target,
	}.Bytes()
	s.mu.Lock()
	defer s.mu.Unlock()
	record := probe.ARPProbe{Probe: round, Target: target, SentNS: time.Now().UnixNano()}
	if err := s.conn.Send(frame); err != nil {
		record.Error = err.Error()
		s.totals.SendErrors++
	} else {
		s.totals.Sent++
		sent := append(s.sent[target], sentProbe{round, record.SentNS})
		s.sent[target] = sent[max(0, len(sent)-keepProbes):]
	}
	return s.out.Emit(probe.KindARPProbe, record)
}

// record sorts one received frame.
func (s *sweep) record(p Packet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	frame, err := Parse(p.Frame)
	if err != nil {
		s.totals.Malformed++
		return nil
	}
	sent, monitored := s.sent[frame.SenderIP]
	switch {
	// An answer to us counts however it was addressed: a responder that broadcasts its
	// replies (RFC 5227 2.6 allows it) must not be hidden among the announcements.
	case monitored && frame.Op == OpReply && frame.TargetMAC == s.mac:
		s.totals.Replies++
		number, at := attribute(sent, p.ReceivedNS)
		return s.out.Emit(probe.KindARPReply, probe.ARPReply{
			Probe: number, Target: frame.SenderIP, SenderMAC: frame.SenderMAC.String(),
			EthernetSource: frame.EthernetSource.String(), SentNS: at, ReceivedNS: p.ReceivedNS, VLAN: p.VLAN,
		})
	case monitored && frame.Gratuitous():
		s.totals.Gratuitous++
		op := "request"
		if frame.Op == OpReply {
			op = "reply"
		}
		return s.out.Emit(probe.KindARPGratuitous, probe.ARPGratuitous{
			Op: op, Address: frame.SenderIP, SenderMAC: frame.SenderMAC.String(),
			EthernetSource: frame.EthernetSource.String(), ReceivedNS: p.ReceivedNS, VLAN: p.VLAN,
		})
	default:
		s.totals.Ignored++
		return nil
	}
}

// attribute finds the latest probe sent before the reply arrived, or -1.
func attribute(sent []sentProbe, receivedNS int64) (number int, at int64) {
	for i := len(sent) - 1; i >= 0; i-- {
		if sent[i].at <= receivedNS {
			return sent[i].number, sent[i].at
		}
	}
	return -1, 0
}

// isLinkDown tells the pending error a packet socket reports once when its
// interface goes down.
func isLinkDown(err error) bool { return errors.Is(err, syscall.ENETDOWN) }

// sleepUntil returns the context's cause when that ends first.
func sleepUntil(ctx context.Context, at time.Time) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	wait := time.Until(at)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
