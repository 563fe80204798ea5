// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
)

// responders asks who has the VIP and takes the answers.
type responders struct {
	segment

	config Config
	mac    arp.HardwareAddr // that asks
	emit   emitFunc
	start  time.Time

	answers *answers
}

func openARP(name string, promiscuous bool) (arp.Conn, func() error, error) {
	return openSegment(name, promiscuous, arp.Open)
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
	return &responders{segment: segment{conn: conn, free: free}, config: c, mac: mac, emit: emit}, nil
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

func (r *responders) run(ctx context.Context) error {
	work := r.ask
	if r.config.ARP.Passive {
		work = untilDone
	}
	return r.listen(ctx, r.answers.received, work)
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

func (r *responders) finish() (string, probe.WatchCounts, error) {
	if err := r.answers.flush(); err != nil {
		return probe.TrafficARP, probe.WatchCounts{}, err
	}
	counts, err := r.answers.tracker.finish()
	return probe.TrafficARP, counts, err
}

// total adds what is known of the segment to the totals.
func (r *responders) total(t *probe.WatchTotals) error {
	t.Responders += r.answers.rows.n
	t.Gratuitous = r.answers.gratuitous
	return r.segment.total(t)
}
