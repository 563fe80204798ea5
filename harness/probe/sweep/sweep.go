// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package sweep asks a segment for addresses on a schedule and records what it hears:
// the part of the arp and ndp instruments that does not depend on the protocol.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// Config is one sweep.
type Config struct {
	Targets  []netip.Addr  // each once
	Count    int           // rounds; 0 is until stopped
	Interval time.Duration // between rounds; the targets are spread evenly within it
	MaxRate  float64       // frames per second at most: more targets make a round longer than Interval; 0 is no limit
	Settle   time.Duration // listening after the last probe
}

// Validate refuses a sweep that makes no sense, target by target with valid.
func (c Config) Validate(valid func(netip.Addr) error) error {
	seen := map[netip.Addr]bool{}
	for _, target := range c.Targets {
		if err := valid(target); err != nil {
			return err
		}
		if seen[target] {
			return fmt.Errorf("target %s is given twice", target)
		}
		seen[target] = true
	}
	switch {
	case len(c.Targets) == 0:
		return errors.New("no target")
	case c.Count < 0 || c.Settle < 0:
		return errors.New("count and settle must not be negative")
	case c.Interval <= 0:
		return errors.New("interval must be positive")
	case !(c.MaxRate >= 0 && c.MaxRate <= 1e6): // also refuses NaN
		return fmt.Errorf("rate %v is not 0 to 1e6 frames per second", c.MaxRate)
	}
	return nil
}

// Round is the time between two probes for one target: Interval, or what MaxRate needs.
func (c Config) Round() time.Duration {
	if c.MaxRate == 0 {
		return c.Interval
	}
	return max(c.Interval, time.Duration(float64(len(c.Targets))/c.MaxRate*float64(time.Second)))
}

// Sent is one probe that was sent, or failed to be.
type Sent struct {
	Probe    int
	Target   netip.Addr
	SentNS   int64 // just before the send call, ns since the epoch
	KernelNS int64 // the kernel's time; 0 where it gives none
	Err      error
}

// Class is what a frame is to a sweep.
type Class int

// The classes of frames.
const (
	Ignored     Class = iota // valid, about something else
	Malformed                // no valid frame of the protocol
	Reply                    // an answer to us
	Unsolicited              // an announcement that nobody asked for
)

// Heard is a frame, sorted. Kind and Body are what is recorded of a Reply or an
// Unsolicited one.
type Heard struct {
	Class Class
	Kind  string
	Body  any
}

// Find says whether an address is asked for, and which probe for it was the latest
// to be sent before a time: -1 and 0 when none was.
type Find func(address netip.Addr, receivedNS int64) (number int, sentNS int64, monitored bool)

// Protocol is what a sweep leaves to arp and ndp.
type Protocol interface {
	Ask(target netip.Addr) []byte         // the frame that asks for a target
	Asked(Sent) (kind string, body any)   // the record of a probe
	Hear(p ether.Packet, find Find) Heard // sorts a frame that the filter let pass
}

// Totals counts what a sweep did.
type Totals struct {
	Sent, SendErrors, Replies, Unsolicited, Ignored, Malformed int
	KernelPackets, KernelDrops                                 uint32
}

// keepProbes bounds the memory of an endless sweep. An answer later than this
// many rounds is attributed to no probe.
const keepProbes = 1024

// sweep is the state of one run.
type sweep struct {
	Config
	conn     ether.Conn
	protocol Protocol
	out      *stream.Writer

	// mu covers what follows, and is held while a probe is sent and written: a
	// reply is then always written after its probe. Receive times are the
	// kernel's, so waiting for it falsifies nothing.
	mu     sync.Mutex
	sent   map[netip.Addr][]sentProbe
	totals Totals
}

type sentProbe struct {
	number int
	at     int64 // ns since the epoch
}

// Run sends and receives at the same time, and reads the drop counter last. A probe
// that cannot be sent (a link that is down is what some scenarios are about) is only
// recorded.
func Run(ctx context.Context, c Config, conn ether.Conn, protocol Protocol, w *stream.Writer) (Totals, error) {
	s := &sweep{Config: c, conn: conn, protocol: protocol, out: w, sent: make(map[netip.Addr][]sentProbe, len(c.Targets))}
	for _, target := range c.Targets {
		s.sent[target] = nil
	}
	err := s.run(ctx)
	return s.totals, err
}

func (s *sweep) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var receiving sync.WaitGroup
	var receiveErr error
	receiving.Go(func() {
		if receiveErr = s.receive(); receiveErr != nil {
			cancel(receiveErr)
		}
	})
	err := s.send(ctx)
	unblockErr := s.conn.Unblock()
	if unblockErr != nil {
		// Nothing else ends a blocked Receive.
		unblockErr = errors.Join(unblockErr, s.conn.Close())
	}
	receiving.Wait()
	packets, drops, statsErr := s.conn.Stats()
	s.totals.KernelPackets, s.totals.KernelDrops = packets, drops
	if receiveErr != nil {
		err = receiveErr
	}
	if failure := errors.Join(unblockErr, statsErr); failure != nil {
		return errors.Join(failure, receiveErr)
	}
	return err
}

// receive records frames until Unblock.
func (s *sweep) receive() error {
	for {
		packet, err := s.conn.Receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, syscall.ENETDOWN):
			continue // said once; the socket outlives its link, and the link may come back
		case err != nil:
			return err
		}
		if err := s.hear(packet); err != nil {
			return err
		}
	}
}

// send asks on schedule and then listens for the settle time.
func (s *sweep) send(ctx context.Context) error {
	start, round := time.Now(), s.Round()
	for n := 0; s.Count == 0 || n < s.Count; n++ {
		for i, target := range s.Targets {
			if err := sleepUntil(ctx, start.Add(due(n, i, len(s.Targets), round))); err != nil {
				return err
			}
			if err := s.ask(n, target); err != nil {
				return err
			}
		}
	}
	return sleepUntil(ctx, time.Now().Add(s.Settle))
}

func (s *sweep) ask(number int, target netip.Addr) error {
	frame := s.protocol.Ask(target)
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := Sent{Probe: number, Target: target, SentNS: time.Now().UnixNano()}
	if sent.Err = s.conn.Send(frame); sent.Err != nil {
		s.totals.SendErrors++
	} else {
		sent.KernelNS = s.conn.SentNS()
		s.totals.Sent++
		all := append(s.sent[target], sentProbe{number, sent.SentNS})
		s.sent[target] = all[max(0, len(all)-keepProbes):]
	}
	return s.out.Emit(s.protocol.Asked(sent))
}

func (s *sweep) hear(p ether.Packet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	heard := s.protocol.Hear(p, s.find)
	switch heard.Class {
	case Reply:
		s.totals.Replies++
	case Unsolicited:
		s.totals.Unsolicited++
	case Malformed:
		s.totals.Malformed++
		return nil
	default:
		s.totals.Ignored++
		return nil
	}
	return s.out.Emit(heard.Kind, heard.Body)
}

// find is the Find of this sweep; the caller holds the lock.
func (s *sweep) find(address netip.Addr, receivedNS int64) (number int, sentNS int64, monitored bool) {
	sent, monitored := s.sent[address]
	for i := len(sent) - 1; i >= 0; i-- {
		if sent[i].at <= receivedNS {
			return sent[i].number, sent[i].at, monitored
		}
	}
	return -1, 0, monitored
}
