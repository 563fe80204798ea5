// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/latency"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

const latencyMethod = "Open loop: request i is due at start + i*interval and its latency counts from then, so a stall is not hidden (no coordinated " +
	"omission). VIP and NodePort on the announcer are asked alternately in one run; p50 and p90 through the VIP over those through the " +
	"NodePort must stay within limits.latencyRatioP50 and P90 (the latter holds from p55 on, in steps of 5), held against them by the ends of both " +
	"distribution-free 95 % intervals that speak for the VIP: a machine that stands still for every tenth request puts its p90 where the two kinds of " +
	"requests meet, and there a few of them more or less are many times the latency. Tails are reported, not judged. More than limits.maxLateRatio late (by over 5 ms) " +
	"requests mark the figures suspect, in a finding: the ratios still hold, for both paths were late alike. A client that left " +
	"requests unsent, or was late for more than half of them, has measured itself: that run is made again, up to five times in all (a finding " +
	"says so; nothing but the client's lateness discards a run), and a last one of that kind leaves the check broken. Misses a path that is slower by less " +
	"than the limit, and one that is slower for a few requests only: with 1,000 fewer than one in eight on a quiet machine, with 200 one in six; on one that " +
	"holds up a tenth of both, one in five."

func connectLatency() Check {
	return Check{
		ID: "connect-latency", Family: "latency",
		Title:  "TCP connect through the VIP is as fast as through the NodePort",
		Why:    "The load-balancer address must add nothing but ARP, which is cached: a detour or retransmitted SYNs show here first.",
		Method: latencyMethod,
		Needs:  []string{journal.ObsLatency},
		Codes:  latencyCodes(),
		Judge: func(f journal.Facts, sc scenario.Scenario) Verdict {
			return judgeLatency(f, sc, journal.StreamConnect, "connect")
		},
	}
}

func requestLatency() Check {
	return Check{
		ID: "request-latency", Family: "latency",
		Title:  "A request through the VIP is as fast as through the NodePort",
		Why:    "what users feel of a data plane; suites that measure pod paths never see the VIP. Each request has a connection of its own, so that both paths meet every backend alike.",
		Method: latencyMethod,
		Needs:  []string{journal.ObsLatency},
		Codes:  latencyCodes(),
		Judge: func(f journal.Facts, sc scenario.Scenario) Verdict {
			return judgeLatency(f, sc, journal.StreamRequest, "request")
		},
	}
}

func latencyCodes() []string {
	return []string{"ok", "no-single-responder", "unreachable", "errors", "p50-ratio", "p90-ratio"}
}

func judgeLatency(f journal.Facts, sc scenario.Scenario, stream, what string) Verdict {
	span, err := f.Observation(journal.ObsLatency)
	if err != nil {
		return broken(err)
	}
	paths, err := readPaths(f, span)
	if err != nil {
		return broken(err)
	}
	again, err := discarded(span, paths, stream, func(t probe.LoadTotals) bool { return t.Behind(journal.MaxLateShare) })
	if err != nil {
		return broken(err)
	}
	limits := sc.Spec.Limits
	var vip, port path
	for _, t := range paths.Targets {
		if journal.BaseStream(t.Stream) != stream {
			continue
		}
		l, err := loadRun(span, t.Stream)
		if err != nil {
			return broken(err)
		}
		p, err := readPath(l, t)
		if err != nil {
			return broken(err)
		}
		switch t.Kind {
		case journal.TargetVIP:
			vip = p
		case journal.TargetNodePort:
			port = p
		}
	}
	if vip.target.Name == "" || port.target.Name == "" {
		return broken(fmt.Errorf("%s latency needs a VIP and a NodePort path", what))
	}
	if port.totals.OK == 0 {
		return broken(fmt.Errorf("the NodePort path %s, the measure of the VIP path, answered nothing (%s)", port.target.Address, errorWords(port.totals.ErrorKinds)))
	}
	if vip.totals.OK == 0 {
		return fail("unreachable", "none of %d requests to %s was answered: %s", vip.totals.Completed, vip.target.Address, errorWords(vip.totals.ErrorKinds))
	}
	figures := append(vip.figures("VIP", what), port.figures("NodePort", what)...)
	for _, p := range []path{vip, port} {
		if p.response.P50 <= 0 || p.response.Count < 200 {
			return broken(fmt.Errorf("%s: %d samples are too few for percentiles, 200 are needed", p.target.Address, p.response.Count)).with(figures...)
		}
	}
	if ratio := float64(port.totals.Errors) / float64(port.totals.Completed); ratio > limits.MaxErrorRatio {
		return broken(fmt.Errorf("%d of %d requests on the NodePort path %s, the measure of the VIP path, failed (%s)",
			port.totals.Errors, port.totals.Completed, port.target.Address, errorWords(port.totals.ErrorKinds))).with(figures...)
	}
	if ratio := float64(vip.totals.Errors) / float64(vip.totals.Completed); ratio > limits.MaxErrorRatio {
		return fail("errors", "%d of %d requests to %s failed (%s)", vip.totals.Errors, vip.totals.Completed, vip.target.Address, errorWords(vip.totals.ErrorKinds)).with(figures...)
	}
	v := judgeRatios(vip, port, limits, what, figures)
	v.Findings = append(again, suspect(vip, port, limits)...)
	return v
}

// discarded tells of the runs that were made again, and refuses one that had no reason
// to be, and one that nobody tells of: a run must not be thrown away for what it measured.
// due says of a run's totals that it had reason to be.
func discarded(span journal.Span, paths journal.Paths, stream string, due func(probe.LoadTotals) bool) ([]Finding, error) {
	var out []Finding
	told := map[string]bool{}
	for _, t := range paths.Targets {
		told[t.Stream] = true
	}
	for _, d := range paths.Discarded {
		told[d] = true
		if journal.BaseStream(d) != stream {
			continue
		}
		l, err := loadRun(span, d)
		if err != nil {
			return nil, err
		}
		if !due(l.totals) {
			return nil, fmt.Errorf("run %s was discarded although its client was not what failed", d)
		}
		out = append(out, Finding{Component: "client", Message: fmt.Sprintf(
			"run %s was made again: %s", d, lateness(l.totals))})
	}
	for _, s := range span.Streams() {
		if journal.BaseStream(s) == stream && !told[s] {
			return nil, fmt.Errorf("run %s was made and is neither judged nor discarded", s)
		}
	}
	return out, nil
}

// lateness says how far a client was behind, and what its machine had to do with it.
func lateness(t probe.LoadTotals) string {
	return fmt.Sprintf("the client sent %d of %d requests late and %d not at all; the hypervisor withheld %.0f %% of the machine's CPU time",
		t.Late, t.Scheduled, t.Dropped+t.Cancelled, 100*t.StealRatio)
}

// judgeRatios holds the VIP path against the NodePort path.
func judgeRatios(vip, port path, limits scenario.Limits, what string, figures []Figure) Verdict {
	a, err := samples(vip.response)
	if err != nil {
		return broken(err).with(figures...)
	}
	b, err := samples(port.response)
	if err != nil {
		return broken(err).with(figures...)
	}
	ratios, n := compare(a, b), vip.response.Count
	figures = append(figures, ratios.figures(what, "%[1]s VIP / %[1]s NodePort, interleaved", n)...)
	if code, message := ratios.beyond(limits.LatencyRatioP50, limits.LatencyRatioP90); code != "" {
		return fail(code, "%s", message).with(figures...)
	}
	return pass("%s p50 %s p90 %s p99 %s over %d requests; %s", what,
		ms(vip.response.P50), ms(vip.response.P90), ms(vip.response.P99), n, ratios).with(figures...)
}

// samples reads a histogram back.
func samples(h probe.LoadHistogram) (ranked, error) {
	at, err := latency.Ranks(h)
	return ranked{int(h.Count), func(rank int) float64 { return float64(at(rank)) }}, err
}

// path is one of the two paths of a latency observation.
type path struct {
	target   journal.Target
	totals   probe.LoadTotals
	response probe.LoadHistogram
	service  probe.LoadHistogram
}

func (p path) late() float64 { return float64(p.totals.Late) / float64(p.totals.Scheduled) }

// suspect says that the client was late more often than the scenario allows.
func suspect(vip, port path, limits scenario.Limits) []Finding {
	if vip.late() <= limits.MaxLateRatio && port.late() <= limits.MaxLateRatio {
		return nil
	}
	return []Finding{{Component: "client", Message: fmt.Sprintf(
		"suspect: the client sent %.0f %% (VIP) and %.0f %% (NodePort) of its requests late, limit %.0f %%: absolute latencies hold its own delay too, ratios hold",
		100*vip.late(), 100*port.late(), 100*limits.MaxLateRatio)}}
}

// readPath reads one path and refuses one that the client could not load as planned.
func readPath(l load, t journal.Target) (path, error) {
	p := path{target: t}
	var err error
	if p.totals, err = l.target(t.Name); err != nil {
		return p, err
	}
	if p.totals.Cancelled > 0 {
		return p, fmt.Errorf("%s: %d requests were cut off", t.Address, p.totals.Cancelled)
	}
	if p.totals.Behind(journal.MaxLateShare) {
		p.totals.StealRatio = l.totals.StealRatio
		return p, fmt.Errorf("%s: this machine was too busy to measure latency: %s", t.Address, lateness(p.totals))
	}
	p.response = l.histograms[t.Name][probe.HistogramResponse]
	p.service = l.histograms[t.Name][probe.HistogramService]
	if want := p.totals.OK - p.totals.WarmupExcluded; p.response.Count != want {
		return p, fmt.Errorf("%s: the histogram holds %d samples of %d", t.Address, p.response.Count, want)
	}
	return p, nil
}

func (p path) figures(name, what string) []Figure {
	method := fmt.Sprintf("open loop from the due time, %d warm-up requests excluded", p.totals.WarmupExcluded)
	var out []Figure
	for _, q := range []struct {
		name  string
		value int64
	}{{"p50", p.response.P50}, {"p90", p.response.P90}, {"p99", p.response.P99}, {"p99.9", p.response.P999}, {"max", p.response.Max}} {
		out = append(out, Figure{Name: fmt.Sprintf("%s %s %s", name, what, q.name), Value: float64(q.value) / 1e6, Unit: "ms", N: p.response.Count, Method: method})
	}
	return append(out,
		Figure{Name: fmt.Sprintf("%s %s service p50", name, what), Value: float64(p.service.P50) / 1e6, Unit: "ms", N: p.service.Count, Method: "from the actual send"},
		Figure{Name: fmt.Sprintf("%s %s late", name, what), Value: float64(p.totals.Late), Unit: "requests", N: p.totals.Scheduled, Method: "sent later after the due time than the client's allowance"})
}

func ms(ns int64) string { return fmt.Sprintf("%.3g ms", float64(ns)/1e6) }
