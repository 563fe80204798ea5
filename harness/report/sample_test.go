// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report_test

import (
	"time"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

// allResults is every result a cell can have.
func allResults() []judge.Result {
	return []judge.Result{
		judge.ResultPassed, judge.ResultFailed, judge.ResultBroken, judge.ResultUnsupported,
		judge.ResultSkipped, judge.ResultCaught, judge.ResultMissed, judge.ResultConsequence,
	}
}

// cellWith is a cell that came to a result in the ordinary way.
func cellWith(r judge.Result, check string) judge.Cell {
	v := judge.Verdict{Outcome: judge.Outcome(r), Code: "some-code", Message: "what was seen"}
	c := judge.Cell{Scenario: "s", Phase: journal.PhaseBaseline, Check: check, Where: "host", ElapsedMS: 1500}
	consequence := false
	switch r {
	case judge.ResultCaught:
		v.Outcome, c.Expected = judge.Failed, v.Code
	case judge.ResultMissed:
		v.Outcome, c.Expected = judge.Failed, "another-code"
	case judge.ResultConsequence:
		v.Outcome, consequence = judge.Failed, true
	}
	c.Verdict, c.Result = v, judge.Combine(v, c.Expected, consequence)
	return c
}

func matrixOf(suites ...report.Suite) report.Matrix {
	return report.Matrix{Run: report.Run{ID: "r"}, Suites: suites}
}

func suiteOf(scenario string, rs ...judge.Result) report.Suite {
	s := report.Suite{Scenario: scenario, Where: "host"}
	for i, r := range rs {
		s.Cells = append(s.Cells, cellWith(r, "check-"+string(rune('a'+i))))
	}
	return s
}

func at(second int) time.Time { return time.Date(2026, 11, 23, 10, 0, second, 0, time.UTC) }

// sample is a run as users see it: a healthy scenario with a known-bad mutation, one
// that is not possible here, one that could not start, and one on a guest.
func sample() report.Matrix {
	const mutation = "no-l2-advertisement"
	latency := []judge.Figure{
		{Name: "vip/p50", Value: 0.4123456, Unit: "ms", N: 2000, Method: "open loop"},
		{Name: "vip/p90", Value: 0.71, Unit: "ms", N: 2000, Method: "open loop"},
		{Name: "vip/p99", Value: 1.25, Unit: "ms", N: 2000, Method: "open loop"},
		{Name: "vip/p99.9", Value: 4.5, Unit: "ms", N: 2000, Method: "open loop"},
		{Name: "vip/max", Value: 12, Unit: "ms", N: 2000, Method: "open loop"},
		{Name: "nodeport/p50", Value: 0.39, Unit: "ms", N: 2000, Method: "open loop"},
		{Name: "ratio p50", Value: 1.057, Unit: "", N: 2000, Method: "vip over nodeport"},
	}
	name := "kube-proxy-iptables-metallb-l2"
	cell := func(phase, check, title, expected string, consequence bool, v judge.Verdict) judge.Cell {
		return judge.Cell{
			Scenario: name, Phase: phase, Check: check, Title: title, Expected: expected,
			Result: judge.Combine(v, expected, consequence), Verdict: v, Where: "host", ElapsedMS: 2345,
		}
	}
	pass := func(code, message string) judge.Verdict {
		return judge.Verdict{Outcome: judge.Passed, Code: code, Message: message}
	}
	fail := func(code, message string) judge.Verdict {
		return judge.Verdict{Outcome: judge.Failed, Code: code, Message: message}
	}
	withLatency := pass("ok", "p50 of the VIP is 1.06 times that of the NodePort")
	withLatency.Figures = latency
	status := pass("ok", "event, status and wire agree")
	status.Findings = []judge.Finding{{Component: "metallb", Message: "ServiceL2Status names node_b *after* it | left"}}
	healthy := report.Suite{
		Scenario: name, Title: "kube-proxy iptables, MetalLB L2", Where: "host", Started: at(5), Elapsed: 95 * time.Second,
		Cells: []judge.Cell{
			cell("baseline", "dataplane-active", "The named data plane runs", "", false, pass("mode=iptables", "3 of 3 nodes run iptables")),
			cell("baseline", "single-responder", "One node answers ARP", "", false, pass("responders=1", "one MAC answered 120 of 120 probes")),
			cell("baseline", "announcer-status-agrees", "Status and wire agree", "", false, status),
			cell("baseline", "connect-latency", "TCP connect", "", false, withLatency),
			cell(journal.MutationPhase(mutation), "single-responder", "One node answers ARP", "responders=0", false, fail("responders=0", "nobody answers")),
			cell(journal.MutationPhase(mutation), "reachable-cluster-policy", "Traffic arrives", "", true, fail("unreachable", "0 of 50 connections")),
			cell(journal.RestoredPhase(mutation), "single-responder", "One node answers ARP", "", false, pass("responders=1", "one MAC answered")),
		},
		Properties: []report.Property{{Name: "node image", Value: "lbmatrix/node:v1.37.2"}},
		Steps:      []report.Timing{{Name: "create", Elapsed: 18 * time.Second}, {Name: "install", Elapsed: 9400 * time.Millisecond}},
	}
	bad := suiteOf("bad-weather", allResults()...)
	bad.Started, bad.Elapsed = at(7), 3*time.Second
	guest := suiteOf(name, judge.ResultPassed)
	guest.Where = "guest"
	return report.Matrix{
		Run: report.Run{
			ID: "20261123T100000Z-sample-abcd", Started: at(0), Ended: at(0).Add(2 * time.Minute), Args: []string{"run", "--all"},
			Versions: map[string]string{"lbmatrix": "v0.1.0", "kubernetes": "v1.37.2", "metallb": "v0.16.1"},
			Machine:  report.Machine{Host: "ci-1", OS: "linux", Kernel: "6.12.0", CPUs: 2, MemoryBytes: 8 << 30, Cgroup: "v2"},
			Timings:  []report.Timing{{Name: "artifacts", Elapsed: 12 * time.Second}},
		},
		Suites: []report.Suite{
			healthy, bad, guest,
			{Scenario: "cilium-dsr", Where: "host", NotRun: "needs kernel 5.10 with BPF; this one has none", Unsupported: true},
			{Scenario: "left-out", Where: "host", NotRun: "--skip left-out", Skipped: true},
			{Scenario: "no-start", Where: "host", NotRun: "create cluster: no space left on device"},
		},
	}
}
