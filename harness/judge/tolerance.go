// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// restless says that the sweep began although the answers had not been the same for as
// long as wanted.
func (s sweep) restless() bool { return s.settle != nil && !s.settle.Stable }

// tolerated tells of what had no effect on the verdict: several answers for a VIP before
// the segment came to rest, and second answers of the same MAC to one broadcast.
func (s sweep) tolerated() []Finding {
	var out []Finding
	if s.settle != nil {
		for _, change := range s.settle.Seen {
			for _, vip := range slices.Sorted(maps.Keys(change.Responders)) {
				if macs := change.Responders[vip]; len(macs) > 1 {
					out = append(out, Finding{Component: "metallb", Message: fmt.Sprintf(
						"tolerated: %s was answered by %s in a sweep %d ms into the wait for a stable segment (an election at boot, or a handover)",
						vip, s.describe(macs), change.AtMS)})
				}
			}
		}
	}
	for _, t := range s.kind(journal.TargetVIP) {
		if mac, ok := s.responder(t.Address); ok {
			if twice := s.replies[t.Address][mac] - s.answered[t.Address]; twice > 0 {
				out = append(out, Finding{Component: "segment", Message: fmt.Sprintf(
					"tolerated: %s (%s) got %d answers more than broadcasts, all from %s", t.Address, t.Service, twice, s.name(mac))})
			}
		}
	}
	return out
}

// spans says when each of several responders was heard: a handover within the sweep looks
// like one after the other, a second owner like both all the time.
func (s sweep) spans(addr string) string {
	var words []string
	for _, mac := range s.macs(addr) {
		h := s.seen[addr][mac]
		words = append(words, fmt.Sprintf("%s %d times from %s to %s", s.name(mac), s.replies[addr][mac], ms(h.first-s.begun), ms(h.last-s.begun)))
	}
	return "heard " + strings.Join(words, ", ")
}

// power is what the sweep could have seen of an address.
func (s sweep) power(t journal.Target) Figure {
	n := s.sent[t.Address]
	return Figure{
		Name: "detectable share", Value: 100 * detectableShare(n), Unit: "%", N: int64(n),
		Method: "share of broadcasts that another responder must answer to be seen with p >= 0.99",
	}
}
