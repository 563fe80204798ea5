// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package sweep

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// Summary is one sweep as a person, or a script with one question, wants it.
type Summary struct {
	VIPs        []VIP  `json:"vips"` // in the order they were asked for
	KernelDrops uint32 `json:"kernelDrops"`
	Complete    bool   `json:"complete"`         // the stream is whole and the sweep was finished; otherwise nothing here proves an absence
	Reason      string `json:"reason,omitempty"` // why the sweep ended, or what is wrong with its stream
	start       int64  // of the sweep, ns since the epoch
}

// VIP is what was heard about one address.
type VIP struct {
	VIP         netip.Addr  `json:"vip"`
	Sent        int         `json:"sent"`        // probes sent
	Answered    int         `json:"answered"`    // probes that a later reply answers, each reply one at most
	Responders  []Responder `json:"responders"`  // in order of their first reply; more than one MAC is a duplicate
	Gratuitous  int         `json:"gratuitous"`  // announcements that nobody asked for, in no other number here
	KernelDrops uint32      `json:"kernelDrops"` // of the whole sweep: each dropped frame may have been about this address
}

// Responder is one sender that answered.
type Responder struct {
	MAC            string    `json:"mac"`
	EthernetSource string    `json:"ethernetSource"`
	VLAN           int       `json:"vlan,omitempty"`
	Flags          string    `json:"flags,omitempty"` // ndp: of R (router), S (solicited) and O (override) those that are set
	Replies        int       `json:"replies"`
	FirstSeen      time.Time `json:"firstSeen"`
	LastSeen       time.Time `json:"lastSeen"`
	RoundTripNS    int64     `json:"roundTripNS,omitempty"` // median, from the kernel's send time to its receive time; 0 where it gave no send time
}

// MACs counts distinct MACs: one responder may show up by several Ethernet sources.
func (v VIP) MACs() int {
	macs := map[string]bool{}
	for _, r := range v.Responders {
		macs[r.MAC] = true
	}
	return len(macs)
}

// Event is what a record of a sweep says, in the terms of both protocols.
type Event struct {
	Targets  []netip.Addr // of a start record
	Sent     *Sent
	Reply    *Answer
	Announce netip.Addr // an announcement of this address
	Drops    *uint32    // of an end record
}

// Answer is a reply.
type Answer struct {
	Probe      int
	Target     netip.Addr
	Who        Responder // MAC, EthernetSource, VLAN and Flags
	ReceivedNS int64
}

// Summarize counts the records of one sweep, which decode reads. A torn stream is
// summed up as far as it goes, with Complete false; a record that cannot be read, or
// is about an address nobody asked for, is an error.
func Summarize(records []probe.Record, decode func(probe.Record) (Event, error)) (Summary, error) {
	s := Summary{VIPs: []VIP{}}
	vips := map[netip.Addr]*tally{}
	for _, record := range records {
		event, err := decode(record)
		if err == nil {
			err = s.add(vips, event, record)
		}
		if err != nil {
			return Summary{}, fmt.Errorf("summarize: %w", err)
		}
	}
	for i := range s.VIPs {
		s.VIPs[i] = vips[s.VIPs[i].VIP].finish(s.KernelDrops)
	}
	if err := stream.Check(records); err != nil {
		s.Complete, s.Reason = false, err.Error()
	}
	return s, nil
}

// tally is what is known so far of one address.
type tally struct {
	vip      VIP
	frames   []probe.Frame
	kernelNS map[int]int64 // probe -> kernel's send time
	heard    []responses   // of each responder
}

// responses are one responder's.
type responses struct {
	last  int     // the probe that its last reply was attributed to; -1 before the first
	trips []int64 // ns
}

func (s *Summary) add(vips map[netip.Addr]*tally, e Event, record probe.Record) error {
	about := func(address netip.Addr) (*tally, error) {
		if t := vips[address]; t != nil {
			return t, nil
		}
		return nil, fmt.Errorf("record %d is about %s, which is no target", record.Seq, address)
	}
	switch {
	case record.Kind == probe.KindStart:
		s.start = record.Time
		for _, target := range e.Targets {
			if vips[target] == nil {
				vips[target] = &tally{vip: VIP{VIP: target, Responders: []Responder{}}, kernelNS: map[int]int64{}}
				s.VIPs = append(s.VIPs, VIP{VIP: target})
			}
		}
	case record.Kind == probe.KindEnd:
		end, err := probe.Decode[probe.End](record)
		if err != nil {
			return err
		}
		s.Complete = end.Reason == probe.ReasonDone
		s.Reason = cmp.Or(end.Error, end.Reason)
		if e.Drops != nil {
			s.KernelDrops = *e.Drops
		}
	case e.Sent != nil:
		t, err := about(e.Sent.Target)
		if err == nil && e.Sent.Err == nil {
			t.asked(*e.Sent)
		}
		return err
	case e.Reply != nil:
		t, err := about(e.Reply.Target)
		if err == nil {
			t.reply(*e.Reply)
		}
		return err
	case e.Announce.IsValid():
		t, err := about(e.Announce)
		if err == nil {
			t.vip.Gratuitous++
		}
		return err
	}
	return nil
}

func (t *tally) asked(s Sent) {
	t.vip.Sent++
	t.frames = append(t.frames, probe.Frame{At: s.SentNS})
	if s.KernelNS != 0 {
		t.kernelNS[s.Probe] = s.KernelNS
	}
}

func (t *tally) reply(a Answer) {
	t.frames = append(t.frames, probe.Frame{At: a.ReceivedNS, Reply: true})
	at := time.Unix(0, a.ReceivedNS).UTC()
	i := slices.IndexFunc(t.vip.Responders, func(r Responder) bool {
		return r.MAC == a.Who.MAC && r.EthernetSource == a.Who.EthernetSource && r.VLAN == a.Who.VLAN && r.Flags == a.Who.Flags
	})
	if i < 0 {
		i = len(t.vip.Responders)
		a.Who.FirstSeen = at
		t.vip.Responders = append(t.vip.Responders, a.Who)
		t.heard = append(t.heard, responses{last: -1})
	}
	r, h := &t.vip.Responders[i], &t.heard[i]
	r.Replies++
	r.LastSeen = at
	// On a busy machine several probes leave before the first answer comes, and that is
	// then attributed to the last of them. Its round trip is known only when the responder
	// has answered the probe before, and not this one.
	if sent, ok := t.kernelNS[a.Probe]; ok && a.Probe == h.last+1 {
		h.trips = append(h.trips, a.ReceivedNS-sent)
	}
	h.last = a.Probe
}

func (t *tally) finish(drops uint32) VIP {
	t.vip.Answered, t.vip.KernelDrops = probe.Answered(t.frames), drops
	for i, h := range t.heard {
		if len(h.trips) > 0 {
			slices.Sort(h.trips)
			t.vip.Responders[i].RoundTripNS = h.trips[len(h.trips)/2]
		}
	}
	return t.vip
}

// Body decodes JSON within a record's body: a start's arguments, an end's totals.
func Body[T any](record probe.Record, raw json.RawMessage) (T, error) {
	return probe.Decode[T](probe.Record{Seq: record.Seq, Kind: record.Kind, Body: raw})
}
