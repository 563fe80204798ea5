// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package arp

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"text/tabwriter"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// Summary is one sweep as a person, or a script with one question, wants it.
type Summary struct {
	VIPs        []VIP  `json:"vips"` // in the order they were asked for
	KernelDrops uint32 `json:"kernelDrops"`
	Complete    bool   `json:"complete"`         // the stream is whole and the sweep was finished; otherwise nothing here proves an absence
	Reason      string `json:"reason,omitempty"` // why the sweep ended, or what is wrong with its stream
}

// VIP is what was heard about one address.
type VIP struct {
	VIP        netip.Addr  `json:"vip"`
	Sent       int         `json:"sent"`       // probes sent
	Answered   int         `json:"answered"`   // probes with at least one reply
	Responders []Responder `json:"responders"` // in order of their first reply; more than one is a duplicate
	Gratuitous int         `json:"gratuitous"` // announcements, in no other number here
}

// Responder is one sender that answered.
type Responder struct {
	MAC            string `json:"mac"`
	EthernetSource string `json:"ethernetSource"`
	VLAN           int    `json:"vlan,omitempty"`
	Replies        int    `json:"replies"`
}

// Summarize counts the records of one sweep. A torn stream is summed up as far
// as it goes, with Complete false; a record that cannot be read, or is about an
// address nobody asked for, is an error.
func Summarize(records []probe.Record) (Summary, error) {
	var s Summary
	vips := map[netip.Addr]*tally{}
	for _, record := range records {
		if err := s.add(vips, record); err != nil {
			return Summary{}, fmt.Errorf("summarize: %w", err)
		}
	}
	for i := range s.VIPs {
		t := vips[s.VIPs[i].VIP]
		t.vip.Answered = len(t.answered)
		s.VIPs[i] = t.vip
	}
	if err := stream.Check(records); err != nil {
		s.Complete, s.Reason = false, err.Error()
	}
	return s, nil
}

type tally struct {
	vip      VIP
	answered map[int]bool
}

func (s *Summary) add(vips map[netip.Addr]*tally, record probe.Record) error {
	about := func(address netip.Addr) (*tally, error) {
		if t := vips[address]; t != nil {
			return t, nil
		}
		return nil, fmt.Errorf("record %d is about %s, which is no target", record.Seq, address)
	}
	switch record.Kind {
	case probe.KindStart:
		start, err := probe.Decode[probe.Start](record)
		if err != nil {
			return err
		}
		args, err := probe.Decode[probe.ARPArgs](probe.Record{Seq: record.Seq, Kind: record.Kind, Body: start.Args})
		if err != nil {
			return err
		}
		for _, target := range args.Targets {
			if vips[target] == nil {
				vips[target] = &tally{vip: VIP{VIP: target, Responders: []Responder{}}, answered: map[int]bool{}}
				s.VIPs = append(s.VIPs, VIP{VIP: target})
			}
		}
	case probe.KindARPProbe:
		body, err := probe.Decode[probe.ARPProbe](record)
		if err != nil {
			return err
		}
		t, err := about(body.Target)
		if err == nil && body.Error == "" {
			t.vip.Sent++
		}
		return err
	case probe.KindARPReply:
		body, err := probe.Decode[probe.ARPReply](record)
		if err != nil {
			return err
		}
		t, err := about(body.Target)
		if err == nil {
			t.reply(body)
		}
		return err
	case probe.KindARPGratuitous:
		body, err := probe.Decode[probe.ARPGratuitous](record)
		if err != nil {
			return err
		}
		t, err := about(body.Address)
		if err == nil {
			t.vip.Gratuitous++
		}
		return err
	case probe.KindEnd:
		return s.end(record)
	}
	return nil
}

func (t *tally) reply(body probe.ARPReply) {
	if body.Probe >= 0 {
		t.answered[body.Probe] = true
	}
	who := Responder{MAC: body.SenderMAC, EthernetSource: body.EthernetSource, VLAN: body.VLAN}
	i := slices.IndexFunc(t.vip.Responders, func(r Responder) bool {
		r.Replies = 0
		return r == who
	})
	if i < 0 {
		i = len(t.vip.Responders)
		t.vip.Responders = append(t.vip.Responders, who)
	}
	t.vip.Responders[i].Replies++
}

func (s *Summary) end(record probe.Record) error {
	end, err := probe.Decode[probe.End](record)
	if err != nil {
		return err
	}
	s.Complete = end.Reason == probe.ReasonDone
	s.Reason = cmp.Or(end.Error, end.Reason)
	if len(end.Totals) == 0 {
		return nil
	}
	totals, err := probe.Decode[probe.ARPTotals](probe.Record{Seq: record.Seq, Kind: record.Kind, Body: end.Totals})
	s.KernelDrops = totals.KernelDrops
	return err
}

// Table prints a summary for people: one line a responder.
func Table(w io.Writer, s Summary) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	_, err := fmt.Fprintln(t, "VIP\tANSWERED\tRESPONDERS\tMAC\tETHERNET SOURCE\tREPLIES\tGRATUITOUS")
	for _, vip := range s.VIPs {
		head := fmt.Sprintf("%s\t%d/%d\t%d", vip.VIP, vip.Answered, vip.Sent, len(vip.Responders))
		if len(vip.Responders) == 0 {
			_, lineErr := fmt.Fprintf(t, "%s\t-\t-\t0\t%d\n", head, vip.Gratuitous)
			err = errors.Join(err, lineErr)
		}
		for i, r := range vip.Responders {
			ethernet := r.EthernetSource
			if r.VLAN != 0 {
				ethernet += fmt.Sprintf(" (vlan %d)", r.VLAN)
			}
			if i == 0 {
				_, lineErr := fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\n", head, r.MAC, ethernet, r.Replies, vip.Gratuitous)
				err = errors.Join(err, lineErr)
				continue
			}
			_, lineErr := fmt.Fprintf(t, "\t\t\t%s\t%s\t%d\t\n", r.MAC, ethernet, r.Replies)
			err = errors.Join(err, lineErr)
		}
	}
	if err = errors.Join(err, t.Flush()); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	if s.KernelDrops > 0 {
		_, err = fmt.Fprintf(w, "the kernel dropped %d frames: there may be more responders\n", s.KernelDrops)
	}
	if !s.Complete {
		_, lineErr := fmt.Fprintf(w, "incomplete: %s\n", s.Reason)
		err = errors.Join(err, lineErr)
	}
	return err
}
