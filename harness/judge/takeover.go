// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func gratuitousOnTakeover() Check {
	return Check{
		ID: "gratuitous-on-takeover", Family: "segment",
		Title: "A node that takes a VIP over announces it by gratuitous ARP",
		Why: "Neighbours that know the VIP by its old owner's MAC keep sending there until their entry expires, for minutes: Cilium's L2 announcements " +
			"had to be taught it (cilium #25933), and MetalLB's come only at the takeover itself (metallb #2910).",
		Method: "Judged where a mutation's end makes every VIP change hands from nobody to its announcer. The observer asks for each every 100 ms from before " +
			"until seconds after. Its first three who-has must go unanswered, and later ones be answered: only then a takeover was seen. A gratuitous request or " +
			"reply from a MAC that answers must come within limits.gratuitousWithin of the first answer. One takeover per VIP; a node that announces in most " +
			"cases only can be missed. Says nothing of neighbours that ignore it.",
		Needs:    []string{journal.ObsTakeover},
		Codes:    []string{"ok", "silent", "late"},
		Takeover: true,
		Judge:    judgeTakeover,
	}
}

// unansweredFirst is how many who-has must go unanswered to show that nobody had the VIP.
const unansweredFirst = 3

func judgeTakeover(f journal.Facts, sc scenario.Scenario) Verdict {
	span, err := f.Observation(journal.ObsTakeover)
	if err != nil {
		return broken(err)
	}
	asked, err := targets(f, span)
	if err != nil {
		return broken(err)
	}
	run, err := span.Stream(journal.StreamTakeover)
	if err != nil {
		return broken(err)
	}
	frames, err := readFrames(run)
	if err != nil {
		return broken(err)
	}
	s := newSweep()
	if s.topo, err = f.Topology(); err != nil {
		return broken(err)
	}
	if err := s.count(frames); err != nil {
		return broken(err)
	}
	heard, err := announcements(run)
	if err != nil {
		return broken(err)
	}
	if len(asked) == 0 {
		return broken(fmt.Errorf("no VIP was asked for"))
	}
	v := pass("")
	var words []string
	limit := sc.Spec.Limits.GratuitousWithin.D().Nanoseconds()
	for _, t := range asked {
		first, err := s.taken(t)
		if err != nil {
			return broken(err)
		}
		var by []int64 // times of announcements of those who answer
		for _, a := range heard[t.Address] {
			if s.replies[t.Address][a.mac] > 0 {
				by = append(by, a.at)
			}
		}
		v = v.with(Figure{Name: t.Service + " announcements", Value: float64(len(by)), Unit: "frames", N: 1, Method: "gratuitous ARP from who answers, around one takeover"})
		if len(by) == 0 {
			return fail("silent", "%s (%s) was taken over by %s without gratuitous ARP", t.Address, t.Service, s.describe(s.macs(t.Address))).with(v.Figures...)
		}
		after := slices.Min(by) - first
		v = v.with(Figure{Name: t.Service + " announced after", Value: float64(after) / 1e6, Unit: "ms", N: 1, Method: "first gratuitous ARP, from the first answer; negative: before it"})
		if after > limit {
			return fail("late", "%s (%s) was announced %s after its new owner first answered, limit %s", t.Address, t.Service, ms(after), ms(limit)).with(v.Figures...)
		}
		words = append(words, fmt.Sprintf("%s by %s, %d frames, the first %s from the first answer", t.Service, s.describe(s.macs(t.Address)), len(by), ms(after)))
	}
	v.Message = "announced: " + strings.Join(words, "; ")
	return v
}

// announcement is one gratuitous frame.
type announcement struct {
	mac string
	at  int64
}

func announcements(run journal.Run) (map[string][]announcement, error) {
	all, err := journal.Items[probe.ARPGratuitous](run, probe.KindARPGratuitous)
	out := map[string][]announcement{}
	for _, g := range all {
		addr := g.Address.String()
		out[addr] = append(out[addr], announcement{mac: strings.ToLower(g.SenderMAC), at: g.ReceivedNS})
	}
	return out, err
}

// taken is when an address, silent at first, was first answered for.
func (s sweep) taken(t journal.Target) (int64, error) {
	if len(s.seen[t.Address]) == 0 {
		return 0, fmt.Errorf("nobody took %s (%s) over: none of %d who-has was answered", t.Address, t.Service, s.sent[t.Address])
	}
	var first int64
	for _, h := range s.seen[t.Address] {
		if first == 0 || h.first < first {
			first = h.first
		}
	}
	before := 0
	for _, at := range s.asked[t.Address] {
		if at < first {
			before++
		}
	}
	// The last of them is the one that was answered.
	if before <= unansweredFirst {
		return 0, fmt.Errorf("%s (%s) was answered from who-has %d on: that it changed hands was not seen", t.Address, t.Service, before)
	}
	return first, nil
}
