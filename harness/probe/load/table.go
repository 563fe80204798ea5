// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// Table prints a summary for people.
func Table(w io.Writer, s Summary) error {
	var out bytes.Buffer
	if s.Ramp != nil {
		rampTable(&out, *s.Ramp)
	} else {
		runTable(&out, s)
	}
	if !s.Complete {
		fmt.Fprintf(&out, "incomplete: %s\n", s.Reason)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return nil
}

func runTable(out *bytes.Buffer, s Summary) {
	fmt.Fprintf(out, "%s, %s schedule, %g requests per second; the first %d are warm-up: not in the latencies, but in all counts\n",
		s.Mode, s.Schedule, s.Rate, s.Warmup)
	for _, t := range s.Targets {
		fmt.Fprintf(out, "\n%s: %d of %d requests ok, %d failed, %d not sent, %d cut off, %d late\n",
			t.Name, t.Totals.OK, t.Totals.Scheduled, t.Totals.Errors, t.Totals.Dropped, t.Totals.Cancelled, t.Totals.Late)
		table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(table, "  LATENCY\tN\tP50\tP90\tP99\tP99.9\tMAX")
		for _, name := range histogramNames() {
			h := t.Latency[name]
			fmt.Fprintf(table, "  %s\t%d\t%s\t%s\t%s\t%s\t%s\n", described(name), h.Count, short(h.P50), short(h.P90), short(h.P99), short(h.P999), short(h.Max))
		}
		_ = table.Flush() // to memory
		for _, key := range slices.Sorted(maps.Keys(t.Backends)) {
			b := t.Backends[key]
			fmt.Fprintf(out, "  answered by %s on %q: %d, who saw %s\n", key, b.Node, b.Responses, counts(b.Peers))
		}
		for _, kind := range slices.Sorted(maps.Keys(t.Errors)) {
			fmt.Fprintf(out, "  %d errors of kind %s, the first: %s\n", t.Errors[kind].Count, kind, t.Errors[kind].First)
		}
	}
	if s.Totals.StealRatio > 0 {
		fmt.Fprintf(out, "\nthe hypervisor withheld %.1f %% of the machine's CPU time\n", 100*s.Totals.StealRatio)
	}
}

// described says what a histogram counts from.
func described(name string) string {
	switch name {
	case probe.HistogramResponse:
		return "response (from due)"
	case probe.HistogramService:
		return "service (from send)"
	default:
		return "lateness (due to send)"
	}
}

func rampTable(out *bytes.Buffer, r RampSummary) {
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(table, "RATE\tP%g\tERRORS\tNOT SENT\tLATENESS P99.9\tMET\n", r.Percentile)
	for _, step := range r.Tried {
		met := "yes"
		if !step.Met {
			met = step.Why
		}
		fmt.Fprintf(table, "%.0f\t%s\t%d\t%d\t%s\t%s\n", step.Rate, short(step.ValueNS), step.Totals.Errors, step.Totals.Dropped,
			short(step.Histograms[probe.HistogramLateness].P999), met)
	}
	_ = table.Flush() // to memory
	switch {
	case r.HighestRate == 0:
		fmt.Fprintf(out, "no rate met the limit of %s\n", time.Duration(r.LimitNS))
	case r.LowestMissed == 0:
		fmt.Fprintf(out, "%.0f requests per second met the limit of %s, as did every rate tried\n", r.HighestRate, time.Duration(r.LimitNS))
	default:
		fmt.Fprintf(out, "%.0f requests per second met the limit of %s, %.0f did not\n", r.HighestRate, time.Duration(r.LimitNS), r.LowestMissed)
	}
}

// short is a duration with three significant figures.
func short(ns int64) string {
	d := time.Duration(ns)
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 100).String()
		}
	}
	return d.String()
}

func counts(m map[string]int) string {
	var out bytes.Buffer
	for i, key := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			out.WriteString(", ")
		}
		fmt.Fprintf(&out, "%s (%d)", key, m[key])
	}
	return out.String()
}
