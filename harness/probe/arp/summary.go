// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package arp

import (
	"errors"
	"io"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/sweep"
)

// What a sweep comes to.
type (
	Summary   = sweep.Summary
	VIP       = sweep.VIP
	Responder = sweep.Responder
)

// Summarize counts the records of one sweep; see sweep.Summarize.
func Summarize(records []probe.Record) (Summary, error) { return sweep.Summarize(records, event) }

// Table prints a summary for people.
func Table(w io.Writer, s Summary) error { return sweep.Table(w, s) }

// event says what a record of the arp instrument says.
func event(record probe.Record) (e sweep.Event, err error) {
	switch record.Kind {
	case probe.KindStart:
		start, err := probe.Decode[probe.Start](record)
		if err != nil {
			return e, err
		}
		args, err := sweep.Body[probe.ARPArgs](record, start.Args)
		e.Targets = args.Targets
		return e, err
	case probe.KindARPProbe:
		body, err := probe.Decode[probe.ARPProbe](record)
		e.Sent = &sweep.Sent{Probe: body.Probe, Target: body.Target, SentNS: body.SentNS, KernelNS: body.KernelNS}
		if body.Error != "" {
			e.Sent.Err = errors.New(body.Error)
		}
		return e, err
	case probe.KindARPReply:
		body, err := probe.Decode[probe.ARPReply](record)
		e.Reply = &sweep.Answer{
			Probe: body.Probe, Target: body.Target, ReceivedNS: body.ReceivedNS,
			Who: Responder{MAC: body.SenderMAC, EthernetSource: body.EthernetSource, VLAN: body.VLAN},
		}
		return e, err
	case probe.KindARPGratuitous:
		body, err := probe.Decode[probe.ARPGratuitous](record)
		e.Announce = body.Address
		return e, err
	case probe.KindEnd:
		end, err := probe.Decode[probe.End](record)
		if err != nil || len(end.Totals) == 0 {
			return e, err
		}
		totals, err := sweep.Body[probe.ARPTotals](record, end.Totals)
		e.Drops = &totals.KernelDrops
		return e, err
	}
	return e, nil
}
