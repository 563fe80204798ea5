// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// takeover is what the observer hears while one VIP changes hands: it asks every 100 ms,
// 40 times.
type takeover struct {
	from      int     // the first round that is answered; 40 and more is none
	announced []int64 // ms from that round on, by who answers
	others    []int64 // the same, by who does not
	drops     uint32
}

func (tk takeover) observe(o *journal.Observation, owner string) error {
	targets := []journal.Target{{Service: "echo-cluster", Kind: journal.TargetVIP, Address: vipCluster, Stream: journal.StreamTakeover}}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	l := &lines{out: o.Stream(journal.StreamTakeover)}
	l.start(probe.ARPArgs{})
	totals := probe.ARPTotals{KernelDrops: tk.drops}
	addr := netip.MustParseAddr(vipCluster)
	const round = int64(100e6)
	for i := range 40 {
		l.add(probe.KindARPProbe, probe.ARPProbe{Probe: i, Target: addr, SentNS: 1 + int64(i)*round})
		totals.Sent++
		if i >= tk.from {
			l.add(probe.KindARPReply, probe.ARPReply{Probe: i, Target: addr, SenderMAC: owner, EthernetSource: owner, ReceivedNS: 2 + int64(i)*round})
			totals.Replies++
		}
	}
	for mac, all := range map[string][]int64{owner: tk.announced, mac(77): tk.others} {
		for _, after := range all {
			l.add(probe.KindARPGratuitous, probe.ARPGratuitous{
				Op: "request", Address: addr, SenderMAC: mac, EthernetSource: mac, ReceivedNS: 2 + int64(tk.from)*round + after*1e6,
			})
			totals.Gratuitous++
		}
	}
	return l.end(totals)
}

// restored is a world in which nobody answered, and that was then restored.
func restored(tk takeover) *world {
	w := healthy()
	name := journal.RestoredPhase("m")
	w.phases = append(w.phases, journal.PlannedPhase{Name: name, Checks: append([]string{"single-responder"}, judge.OnTakeover()...)})
	w.faults[name] = []journal.Fault{{Name: "m", Action: journal.FaultUndo}, {Name: "m", Action: journal.FaultVerify}}
	w.takeover = tk
	return w
}

func TestTakeover(t *testing.T) {
	for name, tc := range map[string]struct {
		takeover takeover
		want     string
	}{
		"announced with the first answer":                      {takeover{from: 10, announced: []int64{0, 1100, 2200}}, "ok"},
		"announced before the first answer":                    {takeover{from: 10, announced: []int64{-30}}, "ok"},
		"announced just in time":                               {takeover{from: 10, announced: []int64{1000}}, "ok"},
		"announced too late":                                   {takeover{from: 10, announced: []int64{1001}}, "late"},
		"not announced":                                        {takeover{from: 10}, "silent"},
		"announced by another":                                 {takeover{from: 10, others: []int64{0}}, "silent"},
		"nobody takes it over":                                 {takeover{from: 40, announced: []int64{0}}, "no-data"},
		"it had an owner when the observer began":              {takeover{from: 0, announced: []int64{0}}, "no-data"},
		"it was silent too shortly":                            {takeover{from: 2, announced: []int64{0}}, "no-data"},
		"the kernel dropped frames":                            {takeover{from: 10, announced: []int64{0}, drops: 1}, "no-data"},
		"silent for three who-has is enough to know its owner": {takeover{from: 3, announced: []int64{0}}, "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := verdicts(t, restored(tc.takeover))["restored/m/gratuitous-on-takeover"]
			require.Equal(t, tc.want, c.Verdict.Code, c.Verdict.Message)
		})
	}
}

func TestTakeoverThatWasNotObservedIsBroken(t *testing.T) {
	w := restored(takeover{from: 10, announced: []int64{0}})
	w.broken[journal.ObsTakeover] = "the observer is gone"
	require.Equal(t, judge.ResultBroken, verdicts(t, w)["restored/m/gratuitous-on-takeover"].Result)
}
