// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// Timeline is one run of the watch instrument.
type Timeline struct {
	StartNS     int64                   `json:"startNS"`
	EndNS       int64                   `json:"endNS"`
	Traffic     []Traffic               `json:"traffic"` // in the order of the run's arguments
	Connections []probe.WatchConnection `json:"connections"`
	Responders  []Span                  `json:"responders"`
	Overlaps    []Overlap               `json:"overlaps"`
	Gratuitous  []probe.ARPGratuitous   `json:"gratuitous"`
	Unsolicited []probe.NDPUnsolicited  `json:"unsolicited"`
	KernelDrops uint32                  `json:"kernelDrops"` // frames: not 0 means that responders may be missing
	Complete    bool                    `json:"complete"`    // the stream is whole and the run did not fail
	Reason      string                  `json:"reason"`      // why the run ended, or what is wrong with its stream
}

// Traffic is one kind of traffic.
type Traffic struct {
	probe.WatchTraffic
	probe.WatchCounts
	Outages   []Outage                       `json:"outages"`
	LongestNS int64                          `json:"longestNS"` // outage; 0 is none
	TotalNS   int64                          `json:"totalNS"`   // of all outages
	Latency   map[string]probe.LoadHistogram `json:"latency"`   // by histogram name
}

// Read sums up a run. A torn stream is summed up as far as it goes, with Complete false;
// a record that cannot be read is an error.
func Read(records []probe.Record) (Timeline, error) {
	r := reader{Timeline: empty(), probes: map[string][]probe.WatchProbe{}, histograms: map[string]map[string]probe.LoadHistogram{}}
	for _, record := range records {
		r.EndNS = max(r.EndNS, record.Time)
		if err := r.add(record); err != nil {
			return Timeline{}, fmt.Errorf("read timeline: %w", err)
		}
	}
	r.finish()
	if err := stream.Check(records); err != nil {
		r.Complete, r.Reason = false, err.Error()
	}
	return r.Timeline, nil
}

// empty has lists that are empty, not absent, in JSON.
func empty() Timeline {
	return Timeline{
		Traffic: []Traffic{}, Connections: []probe.WatchConnection{}, Responders: []Span{}, Overlaps: []Overlap{}, Gratuitous: []probe.ARPGratuitous{},
		Unsolicited: []probe.NDPUnsolicited{},
	}
}

// Disturbed tells whether any traffic failed, or two MACs answered for one address.
func (t Timeline) Disturbed() bool {
	for _, traffic := range t.Traffic {
		if len(traffic.Outages) > 0 {
			return true
		}
	}
	return len(t.Overlaps) > 0
}

type reader struct {
	Timeline
	args       probe.WatchArgs
	totals     probe.WatchTotals
	probes     map[string][]probe.WatchProbe
	rows       []probe.WatchResponder
	histograms map[string]map[string]probe.LoadHistogram
}

func (r *reader) add(record probe.Record) error {
	switch record.Kind {
	case probe.KindStart:
		start, err := probe.Decode[probe.Start](record)
		if err != nil {
			return err
		}
		r.args, err = probe.Decode[probe.WatchArgs](probe.Record{Seq: record.Seq, Kind: record.Kind, Body: start.Args})
		r.StartNS = r.args.StartNS
		return err
	case probe.KindWatchProbe:
		p, err := probe.Decode[probe.WatchProbe](record)
		r.probes[p.Traffic] = append(r.probes[p.Traffic], p)
		return err
	case probe.KindWatchConnection:
		c, err := probe.Decode[probe.WatchConnection](record)
		r.Connections = append(r.Connections, c)
		return err
	case probe.KindWatchResponder:
		row, err := probe.Decode[probe.WatchResponder](record)
		r.rows = append(r.rows, row)
		return err
	case probe.KindARPGratuitous:
		g, err := probe.Decode[probe.ARPGratuitous](record)
		r.Gratuitous = append(r.Gratuitous, g)
		return err
	case probe.KindNDPUnsolicited:
		u, err := probe.Decode[probe.NDPUnsolicited](record)
		r.Unsolicited = append(r.Unsolicited, u)
		return err
	case probe.KindLoadHistogram:
		h, err := probe.Decode[probe.LoadHistogram](record)
		if r.histograms[h.Target] == nil {
			r.histograms[h.Target] = map[string]probe.LoadHistogram{}
		}
		r.histograms[h.Target][h.Name] = h
		return err
	case probe.KindEnd:
		end, err := probe.Decode[probe.End](record)
		if err != nil {
			return err
		}
		r.Complete = end.Reason != probe.ReasonError
		r.Reason = cmp.Or(end.Error, end.Reason)
		if len(end.Totals) > 0 {
			r.totals, err = probe.Decode[probe.WatchTotals](probe.Record{Seq: record.Seq, Kind: record.Kind, Body: end.Totals})
		}
		return err
	}
	return nil
}

func (r *reader) finish() {
	join := map[string]time.Duration{}
	for _, t := range r.args.Traffic {
		out := Traffic{WatchTraffic: t, WatchCounts: r.totals.Traffic[t.Traffic], Latency: r.histograms[t.Traffic]}
		if !t.Passive {
			out.Outages = Outages(r.probes[t.Traffic], max(1, r.args.Recovered), r.EndNS)
		}
		out.LongestNS, out.TotalNS = Longest(out.Outages)
		r.Traffic = append(r.Traffic, out)
		if t.Traffic == probe.TrafficARP || t.Traffic == probe.TrafficNDP {
			join[t.Traffic] = time.Duration(t.TimeoutNS)
		}
	}
	var four, six []probe.WatchResponder
	for _, row := range r.rows {
		if row.VIP.Is4() {
			four = append(four, row)
		} else {
			six = append(six, row)
		}
	}
	r.Responders = slices.Concat(Spans(four, join[probe.TrafficARP]), Spans(six, join[probe.TrafficNDP]))
	r.Overlaps = Overlaps(r.Responders)
	r.KernelDrops = r.totals.KernelDrops
}
