// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package timeline

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// Span is a time during which one MAC answered for an address.
type Span struct {
	VIP        netip.Addr `json:"vip"`
	MAC        string     `json:"mac"`
	FirstProbe int64      `json:"firstProbe"` // -1: asked by others
	LastProbe  int64      `json:"lastProbe"`
	FirstNS    int64      `json:"firstNS"`
	LastNS     int64      `json:"lastNS"`
	Replies    int        `json:"replies"`
}

// Overlap is a time in which two MACs answered for one address.
type Overlap struct {
	VIP      netip.Addr `json:"vip"`
	MACs     [2]string  `json:"macs"` // in alphabetical order
	FromNS   int64      `json:"fromNS"`
	ToNS     int64      `json:"toNS"`
	LengthNS int64      `json:"lengthNS"` // ToNS - FromNS
	Probes   int64      `json:"probes"`   // that both may have answered; 0 where nobody probed
}

// Spans joins the rows of each MAC: those of which nothing but another's answers, or
// join at most, lies between. One responder may use several Ethernet sources. They come
// in the order of their first answer.
func Spans(rows []probe.WatchResponder, join time.Duration) []Span {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b probe.WatchResponder) int {
		return cmp.Or(cmp.Compare(a.FirstNS, b.FirstNS), cmp.Compare(a.LastNS, b.LastNS))
	})
	type key struct {
		vip netip.Addr
		mac string
	}
	last := map[key]int{}
	out := []Span{}
	for _, r := range rows {
		k := key{r.VIP, r.MAC}
		if i, ok := last[k]; ok {
			s := &out[i]
			adjacent := r.FirstProbe >= 0 && s.LastProbe >= 0 && r.FirstProbe <= s.LastProbe+1
			if adjacent || r.FirstNS-s.LastNS <= join.Nanoseconds() {
				s.LastProbe, s.LastNS = max(s.LastProbe, r.LastProbe), max(s.LastNS, r.LastNS)
				s.Replies += r.Replies
				continue
			}
		}
		last[k] = len(out)
		out = append(out, Span{VIP: r.VIP, MAC: r.MAC, FirstProbe: r.FirstProbe, LastProbe: r.LastProbe, FirstNS: r.FirstNS, LastNS: r.LastNS, Replies: r.Replies})
	}
	return out
}

// Overlaps finds every two spans of different MACs that have a probe, or a moment, in
// common. In a clean handover the new MAC's first answer is to a probe after the old
// one's last.
func Overlaps(spans []Span) []Overlap {
	out := []Overlap{}
	for i, a := range spans {
		for _, b := range spans[i+1:] {
			if a.VIP != b.VIP || a.MAC == b.MAC {
				continue
			}
			from, to := max(a.FirstNS, b.FirstNS), min(a.LastNS, b.LastNS)
			var probes int64
			if a.FirstProbe >= 0 && b.FirstProbe >= 0 {
				probes = max(0, min(a.LastProbe, b.LastProbe)-max(a.FirstProbe, b.FirstProbe)+1)
			}
			if from > to && probes == 0 {
				continue
			}
			o := Overlap{VIP: a.VIP, MACs: [2]string{min(a.MAC, b.MAC), max(a.MAC, b.MAC)}, FromNS: min(from, to), ToNS: max(from, to), Probes: probes}
			o.LengthNS = o.ToNS - o.FromNS
			out = append(out, o)
		}
	}
	slices.SortStableFunc(out, func(a, b Overlap) int { return cmp.Compare(a.FromNS, b.FromNS) })
	return out
}
