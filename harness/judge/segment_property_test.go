// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// heard is one thing that an ARP sweep recorded, at its time in ns.
type heard struct {
	at         int64
	probe      *probe.ARPProbe
	reply      *probe.ARPReply
	gratuitous *probe.ARPGratuitous
}

// drawSweep makes up a sweep of the healthy world's VIPs and nodes: anybody may answer
// anything, late, twice, or in another's frames. Times are coarse, so that many things
// happen at once. Most sweeps keep the positive control, or every verdict would be broken.
func drawSweep(t *rapid.T, w *world) []heard {
	var all []heard
	rounds := rapid.IntRange(1, 4).Draw(t, "rounds")
	stranger := rapid.SampledFrom([]string{mac(0), mac(1), mac(2), mac(77), mac(78)})
	add := func(addr string, round int, from string, delay int64) {
		at := int64(10*round) + delay
		all = append(all, heard{at: at, reply: &probe.ARPReply{
			Probe: round, Target: netip.MustParseAddr(addr), SenderMAC: from, EthernetSource: from, SentNS: int64(10 * round), ReceivedNS: at,
		}})
	}
	for round := range rounds {
		ask := func(addr string) {
			p := probe.ARPProbe{Probe: round, Target: netip.MustParseAddr(addr), SentNS: int64(10 * round)}
			all = append(all, heard{at: p.SentNS, probe: &p})
		}
		for i, n := range w.topology.Nodes {
			ask(n.Address)
			if rapid.IntRange(0, 99).Draw(t, "control") > 0 {
				add(n.Address, round, mac(i), 0)
			}
		}
		for _, s := range w.objects.Services {
			ask(s.VIP)
			for range rapid.IntRange(0, 2).Draw(t, "answers") {
				from := rapid.OneOf(rapid.Just(mac(elected(s.VIP))), stranger).Draw(t, "from")
				add(s.VIP, round, from, rapid.Int64Range(0, 2).Draw(t, "delay")*10)
				if rapid.IntRange(0, 3).Draw(t, "in another's frame") == 0 {
					all[len(all)-1].reply.EthernetSource = stranger.Draw(t, "frame of")
				}
			}
			if rapid.IntRange(0, 5).Draw(t, "announced") == 0 {
				g := probe.ARPGratuitous{Op: "request", Address: netip.MustParseAddr(s.VIP), SenderMAC: stranger.Draw(t, "by"), ReceivedNS: int64(10 * round)}
				all = append(all, heard{at: g.ReceivedNS, gratuitous: &g})
			}
		}
	}
	return all
}

// writeSweep writes a journal of the healthy world with that sweep, in that order.
func writeSweep(t *rapid.T, w *world, sweep []heard) []byte {
	dir, err := os.MkdirTemp("", "judge")
	check := func(err error) {
		if err != nil {
			t.Fatalf("%v", err)
		}
	}
	check(err)
	defer os.RemoveAll(dir)
	spec, err := json.Marshal(w.spec)
	check(err)
	path := filepath.Join(dir, journal.FileName)
	out, err := journal.Create(path, journal.Header{Scenario: "segment", Spec: spec, Phases: []journal.PlannedPhase{
		{Name: journal.PhaseBaseline, Checks: segmentChecks()},
	}})
	check(err)
	check(out.Write(journal.KindTopology, w.topology))
	check(out.BeginPhase(journal.PhaseBaseline))
	o, err := out.Begin(journal.ObsAnnouncement)
	check(err)
	check(o.Write(journal.KindObjects, w.objects))
	check(o.End(nil))
	o, err = out.Begin(journal.ObsARP)
	check(err)
	var targets []journal.Target
	for _, s := range w.objects.Services {
		targets = append(targets, journal.Target{Service: s.Name, Kind: journal.TargetVIP, Address: s.VIP, Stream: journal.StreamARP})
	}
	for _, n := range w.topology.Nodes {
		targets = append(targets, journal.Target{Kind: journal.TargetNodeAddress, Address: n.Address, Node: n.Name, Stream: journal.StreamARP})
	}
	check(o.Write(journal.KindPaths, journal.Paths{Targets: targets}))
	l := &lines{out: o.Stream(journal.StreamARP)}
	l.start(probe.ARPArgs{})
	var totals probe.ARPTotals
	for _, h := range sweep {
		switch {
		case h.probe != nil:
			l.add(probe.KindARPProbe, h.probe)
			totals.Sent++
		case h.reply != nil:
			l.add(probe.KindARPReply, h.reply)
			totals.Replies++
		default:
			l.add(probe.KindARPGratuitous, h.gratuitous)
			totals.Gratuitous++
		}
	}
	check(l.end(totals))
	check(o.End(nil))
	check(out.EndPhase())
	check(out.Close(journal.ReasonDone, nil))
	data, err := os.ReadFile(path)
	check(err)
	return data
}

func segmentChecks() []string { return []string{"single-responder", "responder-is-announcer"} }

// cellsOf judges a journal; elapsed times are the clock's, not the sweep's.
func cellsOf(t *rapid.T, data []byte) []judge.Cell {
	j, err := journal.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%v", err)
	}
	cells, err := judge.Journal(j)
	if err != nil {
		t.Fatalf("%v", err)
	}
	again, err := judge.Journal(j)
	if err != nil {
		t.Fatalf("%v", err)
	}
	require.Equal(t, cells, again, "judged twice")
	for i := range cells {
		cells[i].ElapsedMS = 0
	}
	return cells
}

// byTime puts a sweep in the order of its times; what is simultaneous stays as it is.
func byTime(sweep []heard) []heard {
	out := slices.Clone(sweep)
	slices.SortStableFunc(out, func(a, b heard) int { return int(a.at - b.at) })
	return out
}

func TestOrderOfSimultaneousEventsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := healthy()
		sweep := drawSweep(t, w)
		want := cellsOf(t, writeSweep(t, w, byTime(sweep)))
		shuffled := slices.Clone(sweep)
		seed := rapid.Uint64().Draw(t, "seed")
		rand.New(rand.NewPCG(seed, seed)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		require.Equal(t, want, cellsOf(t, writeSweep(t, w, byTime(shuffled))))
		// How late the instrument came to write something down is no fact, either.
		require.Equal(t, want, cellsOf(t, writeSweep(t, w, shuffled)))
	})
}

// A stranger's answer leaves no segment green, and no verdict gets better by it. A VIP that
// nobody answers for is the exception to the second: with the stranger it has one
// responder, and the other check says who.
func TestForeignAnswerOnlyWorsensAnySweep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := healthy()
		sweep := drawSweep(t, w)
		before := cellsOf(t, writeSweep(t, w, sweep))
		s := rapid.SampledFrom(w.objects.Services).Draw(t, "service")
		vip := netip.MustParseAddr(s.VIP)
		silent := !slices.ContainsFunc(sweep, func(h heard) bool { return h.reply != nil && h.reply.Target == vip })
		at := rapid.Int64Range(0, 60).Draw(t, "at")
		sweep = append(sweep, heard{at: at, reply: &probe.ARPReply{Target: vip, SenderMAC: mac(99), EthernetSource: mac(99), ReceivedNS: at}})
		green := true
		for i, now := range cellsOf(t, writeSweep(t, w, sweep)) {
			green = green && now.Result == judge.ResultPassed
			if !silent && rank(now.Result) < rank(before[i].Result) {
				t.Fatalf("%s was %s and is %s with a foreign answer", now.Check, before[i].Result, now.Result)
			}
		}
		if green {
			t.Fatalf("all is green although a stranger answers for %s", s.VIP)
		}
	})
}

func TestDamageNeverHelpsAnySweep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := healthy()
		data := writeSweep(t, w, drawSweep(t, w))
		before := cellsOf(t, data)
		lines := bytes.SplitAfter(data, []byte("\n"))
		lines = lines[:len(lines)-1]
		i := rapid.IntRange(1, len(lines)-1).Draw(t, "line")
		k := rapid.IntRange(1, len(lines)-1).Draw(t, "and line")
		damaged := slices.Clone(lines)
		switch rapid.SampledFrom([]string{"drop", "repeat", "move"}).Draw(t, "damage") {
		case "drop":
			damaged = slices.Delete(damaged, i, i+1)
		case "repeat":
			damaged = slices.Insert(damaged, k, lines[i])
		case "move":
			damaged = slices.Insert(slices.Delete(damaged, i, i+1), min(k, len(damaged)-2), lines[i])
		}
		text := bytes.Join(damaged, nil)
		if bytes.Equal(text, data) {
			return
		}
		for n, now := range cellsOf(t, text) {
			if now.Result != judge.ResultBroken && now.Result != before[n].Result {
				t.Fatalf("%s was %s and is %s after damage", now.Check, before[n].Result, now.Result)
			}
		}
	})
}
