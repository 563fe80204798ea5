// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package timeline

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// line is one event of the printed timeline.
type line struct {
	at   int64
	what string
	text string
}

// Table prints a timeline for people: what happened when, and a table of the traffic.
func Table(w io.Writer, t Timeline) error {
	var out bytes.Buffer
	for _, l := range t.lines() {
		fmt.Fprintf(&out, "%+11.3fs  %-10s  %s\n", time.Duration(l.at-t.StartNS).Seconds(), l.what, l.text)
	}
	if out.Len() > 0 {
		fmt.Fprintln(&out)
	}
	table := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "TRAFFIC\tTARGET\tPROBES\tOK\tFAILED\tNOT SENT\tLATE\tOUTAGES\tLONGEST\tTOTAL\tP50\tP99\tMAX")
	for _, r := range t.Traffic {
		h := r.Latency[probe.HistogramResponse]
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\n", r.Traffic, r.Target, r.Probes, r.OK, r.Failed, r.Dropped, r.Late,
			len(r.Outages), millis(r.LongestNS), millis(r.TotalNS), millis(h.P50), millis(h.P99), millis(h.Max))
	}
	_ = table.Flush() // to memory
	if t.KernelDrops > 0 {
		fmt.Fprintf(&out, "the kernel dropped %d frames: there may be more responders\n", t.KernelDrops)
	}
	if !t.Complete {
		fmt.Fprintf(&out, "incomplete: %s\n", t.Reason)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return nil
}

// lines are the events in the order of time.
func (t Timeline) lines() []line {
	var out []line
	for _, r := range t.Traffic {
		for _, o := range r.Outages {
			text := fmt.Sprintf("outage of %s, %d probes failed (%s)", millis(o.LengthNS), o.Failed, kinds(o.Errors))
			if o.AtMostNS > 0 {
				text += fmt.Sprintf("; it was %s to %s", millis(o.AtLeastNS), millis(o.AtMostNS))
			}
			if !o.Ended {
				text += ", not over"
			}
			out = append(out, line{o.FromNS, r.Traffic, text})
		}
	}
	for _, c := range t.Connections {
		text := "connection open to " + cmp.Or(c.Backend, "?")
		if c.Event != "open" {
			text = fmt.Sprintf("connection to %s lost after %d answers: %s", cmp.Or(c.Backend, "?"), c.Answered, c.Message)
		}
		out = append(out, line{c.AtNS, probe.TrafficLong, text})
	}
	for _, s := range t.Responders {
		what := probe.TrafficARP
		if s.VIP.Is6() {
			what = probe.TrafficNDP
		}
		out = append(out, line{s.FirstNS, what, fmt.Sprintf("%s is at %s for %s, %d answers", s.VIP, s.MAC, millis(s.LastNS-s.FirstNS), s.Replies)})
	}
	for _, o := range t.Overlaps {
		out = append(out, line{o.FromNS, "overlap", fmt.Sprintf("%s and %s both answer for %s, for %s", o.MACs[0], o.MACs[1], o.VIP, millis(o.LengthNS))})
	}
	for _, g := range t.Gratuitous {
		out = append(out, line{g.ReceivedNS, "gratuitous", fmt.Sprintf("%s says that %s is at it (%s)", g.SenderMAC, g.Address, g.Op)})
	}
	for _, u := range t.Unsolicited {
		out = append(out, line{u.ReceivedNS, "advertised", fmt.Sprintf("%s says that %s is at it", cmp.Or(u.TargetMAC, u.EthernetSource), u.Address)})
	}
	slices.SortStableFunc(out, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	return out
}

// millis is a duration in milliseconds.
func millis(ns int64) string { return fmt.Sprintf("%.3f ms", float64(ns)/1e6) }

func kinds(m map[string]int) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%d %s", m[k], k))
	}
	return strings.Join(out, ", ")
}
