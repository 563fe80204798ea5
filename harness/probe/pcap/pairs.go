// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package pcap

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"text/tabwriter"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// Summary is a capture as a person wants it.
type Summary struct {
	Pairs       []Pair `json:"pairs"`
	Frames      int    `json:"frames"` // received
	Overwritten int    `json:"overwritten"`
	Unread      int    `json:"unread"` // frames that open nothing that is told here
	KernelDrops uint32 `json:"kernelDrops"`
}

// Pair is how requests to one address went out and came back: the MAC that their first
// frame was sent to, and the one that the first answer came from. They differ where a
// backend's node answers by itself (direct server return).
type Pair struct {
	Protocol string         `json:"protocol"` // tcp: a SYN and its SYN-ACK; udp: a datagram and the next one back
	Server   netip.AddrPort `json:"server"`
	To       string         `json:"to"`
	From     string         `json:"from"` // empty: no answer
	Count    int            `json:"count"`
}

// opening is what a frame says: a request or an answer, and of what.
type opening struct {
	protocol       string
	client, server netip.AddrPort
	key            uint32 // tcp: the SYN's sequence number, which its repetitions and its answer share
	answer         bool
	mac            string // request: that it was sent to; answer: that it came from
}

// parse reads one frame. ok is false for whatever is no SYN, SYN-ACK or datagram over
// IPv4; a datagram's server is the end that this host is not.
func parse(f probe.CaptureFrame) (o opening, ok bool) {
	p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true, Lazy: true})
	ether, isEther := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	ip, isIP := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !isEther || !isIP {
		return o, false
	}
	source, _ := netip.AddrFromSlice(ip.SrcIP)
	destination, _ := netip.AddrFromSlice(ip.DstIP)
	var from, to netip.AddrPort
	switch t := p.TransportLayer().(type) {
	case *layers.TCP:
		if !t.SYN {
			return o, false
		}
		from, to = netip.AddrPortFrom(source, uint16(t.SrcPort)), netip.AddrPortFrom(destination, uint16(t.DstPort))
		o.protocol, o.answer, o.key = "tcp", t.ACK, t.Seq
		if t.ACK {
			o.key = t.Ack - 1 // a SYN counts one (RFC 9293 3.4)
		}
	case *layers.UDP:
		from, to = netip.AddrPortFrom(source, uint16(t.SrcPort)), netip.AddrPortFrom(destination, uint16(t.DstPort))
		o.protocol, o.answer = "udp", !f.Outgoing
	default:
		return o, false
	}
	o.client, o.server, o.mac = from, to, ether.DstMAC.String()
	if o.answer {
		o.client, o.server, o.mac = to, from, ether.SrcMAC.String()
	}
	return o, true
}

// Pairs sums up a run's records. The first answer counts: repetitions of a SYN and of
// its answer go the same way.
func Pairs(records []probe.Record) (Summary, error) {
	run, err := read(records)
	if err != nil {
		return Summary{}, fmt.Errorf("read capture: %w", err)
	}
	s := Summary{Pairs: []Pair{}, Frames: run.totals.Frames, Overwritten: run.totals.Overwritten, KernelDrops: run.totals.KernelDrops}
	type flow struct {
		protocol       string
		client, server netip.AddrPort
		key            uint32
	}
	macs := map[flow]*Pair{}
	var order []*Pair
	for _, f := range run.frames {
		o, ok := parse(f)
		if !ok {
			s.Unread++
			continue
		}
		k := flow{o.protocol, o.client, o.server, o.key}
		pair := macs[k]
		// A datagram after its answer is a request of its own.
		if !o.answer && (pair == nil || o.protocol == "udp" && pair.From != "") {
			pair = &Pair{Protocol: o.protocol, Server: o.server, To: o.mac, Count: 1}
			macs[k] = pair
			order = append(order, pair)
		}
		switch {
		case pair == nil:
			s.Unread++ // an answer to what was not captured
		case o.answer && pair.From == "":
			pair.From = o.mac
		}
	}
	for _, pair := range order {
		i := slices.IndexFunc(s.Pairs, func(p Pair) bool {
			p.Count = pair.Count
			return p == *pair
		})
		if i < 0 {
			s.Pairs = append(s.Pairs, *pair)
			continue
		}
		s.Pairs[i].Count++
	}
	slices.SortStableFunc(s.Pairs, func(a, b Pair) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), a.Server.Compare(b.Server), cmp.Compare(a.To, b.To), cmp.Compare(a.From, b.From))
	})
	return s, nil
}

// Table prints a summary for people.
func Table(w io.Writer, s Summary) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	_, err := fmt.Fprintln(t, "PROTOCOL\tSERVER\tREQUESTS TO\tANSWERS FROM\tCOUNT")
	for _, p := range s.Pairs {
		if err == nil {
			_, err = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\n", p.Protocol, p.Server, p.To, cmp.Or(p.From, "nobody"), p.Count)
		}
	}
	if err == nil {
		err = t.Flush()
	}
	if err == nil {
		_, err = fmt.Fprintf(w, "%d frames, %d of them overwritten, %d dropped by the kernel\n", s.Frames, s.Overwritten, s.KernelDrops)
	}
	if err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return nil
}
