// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ndp

import (
	"cmp"
	"errors"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/sweep"
)

// Summarize counts the records of one sweep; see sweep.Summarize. A responder that
// names no link-layer address is known by its frames'.
func Summarize(records []probe.Record) (sweep.Summary, error) {
	return sweep.Summarize(records, event)
}

// event says what a record of the ndp instrument says.
func event(record probe.Record) (e sweep.Event, err error) {
	switch record.Kind {
	case probe.KindStart:
		start, err := probe.Decode[probe.Start](record)
		if err != nil {
			return e, err
		}
		args, err := sweep.Body[probe.NDPArgs](record, start.Args)
		e.Targets = args.Targets
		return e, err
	case probe.KindNDPProbe:
		body, err := probe.Decode[probe.NDPProbe](record)
		e.Sent = &sweep.Sent{Probe: body.Probe, Target: body.Target, SentNS: body.SentNS, KernelNS: body.KernelNS}
		if body.Error != "" {
			e.Sent.Err = errors.New(body.Error)
		}
		return e, err
	case probe.KindNDPReply:
		body, err := probe.Decode[probe.NDPReply](record)
		e.Reply = &sweep.Answer{
			Probe: body.Probe, Target: body.Target, ReceivedNS: body.ReceivedNS,
			Who: sweep.Responder{
				MAC: cmp.Or(body.TargetMAC, body.EthernetSource), EthernetSource: body.EthernetSource, VLAN: body.VLAN, Flags: flagText(body.NDPFlags),
			},
		}
		return e, err
	case probe.KindNDPUnsolicited:
		body, err := probe.Decode[probe.NDPUnsolicited](record)
		e.Announce = body.Address
		return e, err
	case probe.KindEnd:
		end, err := probe.Decode[probe.End](record)
		if err != nil || len(end.Totals) == 0 {
			return e, err
		}
		totals, err := sweep.Body[probe.NDPTotals](record, end.Totals)
		e.Drops = &totals.KernelDrops
		return e, err
	}
	return e, nil
}

// flagText writes flags as people do: "RSO".
func flagText(f probe.NDPFlags) string {
	text := ""
	for _, flag := range []struct {
		set  bool
		name string
	}{{f.Router, "R"}, {f.Solicited, "S"}, {f.Override, "O"}} {
		if flag.set {
			text += flag.name
		}
	}
	return text
}
