// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
)

// segment is a socket on the segment while it is watched.
type segment struct {
	conn   ether.Conn
	free   func() error
	once   sync.Once
	closed error
}

// openSegment opens a socket. What is sent to a MAC that is not the interface's only a
// promiscuous interface hears; it stays so as long as a second socket is open that asked
// for it (packet(7), PACKET_MR_PROMISC).
func openSegment(name string, promiscuous bool, open func(string) (ether.Conn, error)) (ether.Conn, func() error, error) {
	free := func() error { return nil }
	if promiscuous {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return nil, nil, fmt.Errorf("open socket on %s: %w", name, err)
		}
		// Protocol 0: it receives nothing.
		member, err := packet.Listen(ifi, packet.Raw, 0, nil)
		if err != nil {
			return nil, nil, fmt.Errorf("open socket on %s: %w", name, err)
		}
		if err := member.SetPromiscuous(true); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("make %s promiscuous: %w", name, err), member.Close())
		}
		free = member.Close
	}
	conn, err := open(name)
	if err != nil {
		return nil, nil, errors.Join(err, free())
	}
	return conn, free, nil
}

func (s *segment) close() error {
	s.once.Do(func() { s.closed = errors.Join(s.conn.Close(), s.free()) })
	return s.closed
}

// listen gives every frame to take while work goes on, and ends work when no frame can be
// received.
func (s *segment) listen(ctx context.Context, take func(ether.Packet) error, work func(context.Context) error) error {
	var receiving sync.WaitGroup
	var receiveErr error
	working, stop := context.WithCancel(ctx)
	defer stop()
	receiving.Go(func() {
		if receiveErr = s.receive(take); receiveErr != nil {
			stop()
		}
	})
	err := work(working)
	unblockErr := s.conn.Unblock()
	if unblockErr != nil {
		// Nothing else ends a blocked Receive.
		unblockErr = errors.Join(unblockErr, s.close())
	}
	receiving.Wait()
	return cmp.Or(err, receiveErr, unblockErr)
}

func (s *segment) receive(take func(ether.Packet) error) error {
	for {
		p, err := s.conn.Receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, syscall.ENETDOWN), errors.Is(err, unix.ENETDOWN):
			continue // the socket outlives its link, and the link may come back
		case err != nil:
			return err
		}
		if err := take(p); err != nil {
			return err
		}
	}
}

// total adds what the kernel counted.
func (s *segment) total(t *probe.WatchTotals) error {
	packets, drops, err := s.conn.Stats()
	t.KernelPackets += packets
	t.KernelDrops += drops
	return err
}

// untilDone is the work of who only listens.
func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
