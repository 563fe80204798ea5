// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package timeline tells what the records of the watch instrument amount to: when there
// was no service, and when more than one MAC answered for an address. It is pure.
package timeline

import "github.com/lbmatrix/lbmatrix/harness/probe"

// Outage is an interval without service: from the first probe that failed to the first
// of so many that succeeded one after the other, each counted from when it was sent.
type Outage struct {
	Traffic    string         `json:"traffic"`
	FromNS     int64          `json:"fromNS"`     // the first failed probe was sent
	ToNS       int64          `json:"toNS"`       // the first of the successes was sent; the run's end where there was none
	LengthNS   int64          `json:"lengthNS"`   // ToNS - FromNS
	LastOKNS   int64          `json:"lastOKNS"`   // the last success before it was sent; 0 is none: the run began with it
	FirstProbe int64          `json:"firstProbe"` // that failed
	LastProbe  int64          `json:"lastProbe"`
	Failed     int            `json:"failed"` // probes; the successes among them were too few in a row
	Errors     map[string]int `json:"errors"` // by kind
	Ended      bool           `json:"ended"`  // false: it went on when the run ended
}

// Outages finds the outages of one kind of traffic. Probes are in the order of their
// numbers, and each number that is not there succeeded (see probe.WatchProbe). n
// successes one after the other end an outage; endNS is when the run ended.
//
// A probe that was not sent is neither: it starts no outage, but it does break a row of
// successes. An interval is thus known to within one interval of the probes at each end:
// service stopped between LastOKNS and FromNS, and came back between the probe before
// ToNS and ToNS.
func Outages(probes []probe.WatchProbe, n int, endNS int64) []Outage {
	out := []Outage{}
	var open *Outage
	var lastOK, row, rowFrom int64
	next := int64(-1) // the number that follows in the row
	for _, p := range probes {
		switch {
		case p.Dropped:
			row = 0
		case !p.OK:
			if open == nil {
				open = &Outage{Traffic: p.Traffic, FromNS: p.SentNS, LastOKNS: lastOK, FirstProbe: p.Probe, Errors: map[string]int{}}
			}
			open.LastProbe = p.Probe
			open.Failed++
			open.Errors[p.ErrorKind]++
			row = 0
		default:
			lastOK = p.SentNS
			if open == nil {
				continue
			}
			if row == 0 || p.Probe != next {
				row, rowFrom = 0, p.SentNS
			}
			row++
			next = p.Probe + 1
			if row == int64(n) {
				open.ToNS, open.Ended = rowFrom, true
				out = append(out, open.closed())
				open, row = nil, 0
			}
		}
	}
	if open != nil {
		open.ToNS = max(endNS, open.FromNS)
		out = append(out, open.closed())
	}
	return out
}

func (o *Outage) closed() Outage {
	o.LengthNS = o.ToNS - o.FromNS
	return *o
}

// Longest and total length of outages, in nanoseconds.
func Longest(outages []Outage) (longest, total int64) {
	for _, o := range outages {
		longest = max(longest, o.LengthNS)
		total += o.LengthNS
	}
	return longest, total
}
