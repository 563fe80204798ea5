// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package arp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// Config is one sweep.
type Config struct {
	Conn      Conn          // opened beforehand, and closed by Run; nil opens Interface
	Interface string        // used when Conn is nil
	Targets   []netip.Addr  // IPv4, each once
	Source    netip.Addr    // the address to ask from; zero: the interface's, the one that shares the first target's subnet if any
	ProbeMode bool          // ask from 0.0.0.0 (RFC 5227 2.1.1): touches nobody's neighbour cache
	Count     int           // rounds; 0 is until stopped
	Interval  time.Duration // between rounds; the targets are spread evenly within it
	Settle    time.Duration // listening after the last probe
}

func (c Config) validate() error {
	seen := map[netip.Addr]bool{}
	for _, target := range c.Targets {
		if !target.Is4() || target.IsUnspecified() {
			return fmt.Errorf("target %s is not an IPv4 address", target)
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
	case c.Source.IsValid() && !c.Source.Is4():
		return fmt.Errorf("source %s is not an IPv4 address", c.Source)
	}
	return nil
}

// source is the sender protocol address of the probes.
func (c Config) source(local Local) (netip.Addr, error) {
	switch {
	case c.ProbeMode:
		return netip.IPv4Unspecified(), nil
	case c.Source.IsValid():
		return c.Source, nil
	case len(local.Addresses) == 0:
		return netip.Addr{}, fmt.Errorf("interface %s has no IPv4 address: give a source, or use probe mode", local.Interface)
	}
	for _, prefix := range local.Addresses {
		if prefix.Masked().Contains(c.Targets[0]) {
			return prefix.Addr(), nil
		}
	}
	return local.Addresses[0].Addr(), nil
}

// Run asks for every target Count times and records every answer until Settle
// after the last probe. All probes are broadcast: an answer to a unicast one
// would tell of one host only. It returns an error when the configuration is
// wrong, when no frame can be received, and when w fails; a probe that cannot be
// sent (a link that is down is what some scenarios are about) is only recorded.
func Run(ctx context.Context, c Config, w *stream.Writer) error {
	start := probe.Start{Instrument: "arp", Interface: c.Interface}
	args := probe.ARPArgs{Targets: c.Targets, Count: c.Count, IntervalNS: c.Interval.Nanoseconds(), SettleNS: c.Settle.Nanoseconds(), ProbeMode: c.ProbeMode}
	source, err := c.prepare(&start)
	if c.Conn != nil {
		defer c.Conn.Close()
	}
	return w.Session(ctx, start, args, func(ctx context.Context) (any, error) {
		if err != nil {
			return nil, err // said inside the session, so that even this run has its end record
		}
		s := newSweep(c, source, w)
		err := s.run(ctx)
		return s.totals, err
	})
}

// prepare opens the socket if need be and fills in where the run is.
func (c *Config) prepare(start *probe.Start) (netip.Addr, error) {
	if err := c.validate(); err != nil {
		return netip.Addr{}, err
	}
	if c.Conn == nil {
		conn, err := Open(c.Interface)
		if err != nil {
			return netip.Addr{}, err
		}
		c.Conn = conn
	}
	local := c.Conn.Local()
	start.Interface, start.MAC = local.Interface, local.MAC.String()
	source, err := c.source(local)
	if err == nil {
		start.Address = source.String()
	}
	return source, err
}

// run sends and receives at the same time, and reads the drop counter last.
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
		case isLinkDown(err):
			continue // the socket outlives its link, and the link may come back
		case err != nil:
			return err
		}
		if err := s.record(packet); err != nil {
			return err
		}
	}
}
