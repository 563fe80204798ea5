// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
	"github.com/lbmatrix/lbmatrix/harness/probe/ndp"
)

// NDP says how to watch who answers for an IPv6 address. It only listens: whoever asked
// would be answered at its own address, which the kernel would learn from.
type NDP struct {
	VIP       netip.Addr    // IPv6 unicast; zero: not watched
	Interface string        // on the segment
	Grace     time.Duration // answers of one MAC that are further apart are two rows; 50ms
	Open      OpenFunc      // nil: ndp.Open, promiscuous
}

func (n NDP) check() error {
	switch {
	case !n.VIP.IsValid():
		return nil
	case !n.VIP.Is6() || n.VIP.Is4In6() || n.VIP.IsUnspecified() || n.VIP.IsMulticast() || n.VIP.Zone() != "":
		return fmt.Errorf("%s is not an IPv6 unicast address to listen for", n.VIP)
	case n.Interface == "":
		return errors.New("ndp needs an interface")
	}
	return nil
}

func openNDP(name string, promiscuous bool) (ether.Conn, func() error, error) {
	return openSegment(name, promiscuous, ndp.Open)
}

// advertisements are the neighbour advertisements for the VIP. Only one goroutine receives
// them, and nobody asks.
type advertisements struct {
	segment

	vip         netip.Addr
	rows        rows
	emit        emitFunc
	tracker     *tracker
	unsolicited int
}

func openAdvertisements(c Config, emit emitFunc, start *probe.Start) (*advertisements, error) {
	conn, free, err := c.NDP.Open(c.NDP.Interface, true)
	if err != nil {
		return nil, err
	}
	start.MAC = cmp.Or(start.MAC, conn.Local().MAC.String())
	return &advertisements{
		segment: segment{conn: conn, free: free}, vip: c.NDP.VIP,
		rows: rows{grace: c.NDP.Grace, emit: emit}, emit: emit,
	}, nil
}

func (a *advertisements) begin(c Config, start time.Time) {
	a.tracker = newTracker(c, probe.TrafficNDP, start, a.emit)
}

func (a *advertisements) run(ctx context.Context) error {
	return a.listen(ctx, a.received, untilDone)
}

// received sorts a frame. One to a group is an announcement (RFC 4861 7.2.6), or the
// answer to a host that has no address yet (7.2.4), which goes to all nodes as well and
// cannot be told from one. One to a host is an answer, also without the solicited flag: a
// responder that forgets that must not be hidden among the announcements.
func (a *advertisements) received(p ether.Packet) error {
	f, err := ndp.Parse(p.Frame)
	if err != nil || f.Type != ndp.TypeAdvertisement || f.Target != a.vip {
		return nil // no host may take it, or somebody else's
	}
	mac := ""
	if f.HasLinkAddress {
		mac = f.LinkAddress.String()
	}
	if f.Destination.IsMulticast() {
		a.unsolicited++
		return a.emit(probe.KindNDPUnsolicited, probe.NDPUnsolicited{
			Address: f.Target, TargetMAC: mac, EthernetSource: f.EthernetSource.String(), Source: f.Source,
			NDPFlags: probe.NDPFlags{Router: f.Router, Solicited: f.Solicited, Override: f.Override}, ReceivedNS: p.ReceivedNS, VLAN: p.VLAN,
		})
	}
	// A responder that names no link-layer address is known by its frames'.
	return a.rows.note(probe.WatchResponder{
		VIP: a.vip, MAC: cmp.Or(mac, f.EthernetSource.String()), EthernetSource: f.EthernetSource.String(), VLAN: p.VLAN,
		FirstProbe: -1, LastProbe: -1, FirstNS: p.ReceivedNS, LastNS: p.ReceivedNS, Replies: 1,
	})
}

func (a *advertisements) finish() (string, probe.WatchCounts, error) {
	if err := a.rows.write(); err != nil {
		return probe.TrafficNDP, probe.WatchCounts{}, err
	}
	counts, err := a.tracker.finish()
	return probe.TrafficNDP, counts, err
}

// total adds what is known of the segment to the totals.
func (a *advertisements) total(t *probe.WatchTotals) error {
	t.Responders += a.rows.n
	t.Unsolicited = a.unsolicited
	return a.segment.total(t)
}
