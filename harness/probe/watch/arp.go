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
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
)

// responders asks who has the VIP and takes the answers.
type responders struct {
	config Config
	conn   arp.Conn
	free   func() error
	mac    arp.HardwareAddr // that asks
	emit   emitFunc
	start  time.Time

	answers *answers
	once    sync.Once
	closed  error
}

// openARP opens the socket of package arp. What is sent to a MAC that is not the
// interface's only a promiscuous interface hears; it stays so as long as a second socket
// is open that asked for it (packet(7), PACKET_MR_PROMISC).
func openARP(name string, promiscuous bool) (arp.Conn, func() error, error) {
	none := func() error { return nil }
	free := none
	if promiscuous {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return nil, nil, fmt.Errorf("open arp socket on %s: %w", name, err)
		}
		// Protocol 0: it receives nothing.
		member, err := packet.Listen(ifi, packet.Raw, 0, nil)
		if err != nil {
			return nil, nil, fmt.Errorf("open arp socket on %s: %w", name, err)
		}
		if err := member.SetPromiscuous(true); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("make %s promiscuous: %w", name, err), member.Close())
		}
		free = member.Close
	}
	conn, err := arp.Open(name)
	if err != nil {
		return nil, nil, errors.Join(err, free())
	}
	return conn, free, nil
}

func openResponders(c Config, emit emitFunc, start *probe.Start) (*responders, error) {
	conn, free, err := c.ARP.Open(c.ARP.Interface, c.ARP.OwnMAC || c.ARP.Passive)
	if err != nil {
		return nil, err
	}
	mac := conn.Local().MAC
	if c.ARP.OwnMAC {
		mac = locallyAdministered(mac)
	}
	start.MAC = mac.String()
	if c.ARP.OwnMAC && c.ARP.Source.IsValid() && !c.ARP.Source.IsUnspecified() {
		// Who is asked would take the MAC for that host's, and answer it there.
		err := fmt.Errorf("a MAC of our own asks from 0.0.0.0, not %s", c.ARP.Source)
		return nil, errors.Join(err, conn.Close(), free())
	}
	return &responders{config: c, conn: conn, free: free, mac: mac, emit: emit}, nil
}

// locallyAdministered derives a unicast MAC that no manufacturer gives (IEEE 802, bit 1
// of the first octet), and that is not the given one. Another host's is another.
func locallyAdministered(mac arp.HardwareAddr) arp.HardwareAddr {
	own := mac
	own[0] = mac[0]&^0x01 | 0x02
	if own == mac {
		own[0] ^= 0x40
	}
	return own
}

func (r *responders) begin(start time.Time) {
	r.start = start
	r.answers = newAnswers(r.config, r.mac, newTracker(r.config, probe.TrafficARP, start, r.emit), r.emit)
}

func (r *responders) close() error {
	r.once.Do(func() { r.closed = errors.Join(r.conn.Close(), r.free()) })
	return r.closed
}

func (r *responders) run(ctx context.Context) error {
	var receiving sync.WaitGroup
	var receiveErr error
	sending, stop := context.WithCancel(ctx)
	defer stop()
	receiving.Go(func() {
		if receiveErr = r.receive(); receiveErr != nil {
			stop()
		}
	})
	var err error
	if r.config.ARP.Passive {
		<-sending.Done()
	} else {
		err = r.ask(sending)
	}
	unblockErr := r.conn.Unblock()
	if unblockErr != nil {
		// Nothing else ends a blocked Receive.
		unblockErr = errors.Join(unblockErr, r.close())
	}
	receiving.Wait()
	return cmp.Or(err, receiveErr, unblockErr)
}

// ask broadcasts on schedule, and waits for the answers of the last probes.
func (r *responders) ask(ctx context.Context) error {
	frame := arp.Frame{
		EthernetDestination: arp.Broadcast(), EthernetSource: r.mac,
		Op: arp.OpRequest, SenderMAC: r.mac, SenderIP: r.config.ARP.Source, TargetIP: r.config.ARP.VIP,
	}.Bytes()
	err := each(ctx, r.config, r.start, func(number int64, due time.Time) error {
		return r.answers.asked(number, due, func() error { return r.conn.Send(frame) })
	})
	if err != nil {
		return err
	}
	time.Sleep(r.config.ARP.Grace)
	return r.answers.end(time.Now())
}

func (r *responders) receive() error {
	for {
		p, err := r.conn.Receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, syscall.ENETDOWN), errors.Is(err, unix.ENETDOWN):
			continue // the socket outlives its link, and the link may come back
		case err != nil:
			return err
		}
		if err := r.answers.received(p); err != nil {
			return err
		}
	}
}

func (r *responders) finish() (string, probe.WatchCounts, error) {
	if err := r.answers.flush(); err != nil {
		return probe.TrafficARP, probe.WatchCounts{}, err
	}
	counts, err := r.answers.tracker.finish()
	return probe.TrafficARP, counts, err
}

// total adds what is known of the segment to the totals.
func (r *responders) total(t *probe.WatchTotals) error {
	packets, drops, err := r.conn.Stats()
	t.KernelPackets, t.KernelDrops = packets, drops
	t.Responders, t.Gratuitous = r.answers.rows, r.answers.gratuitous
	return err
}
