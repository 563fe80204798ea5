// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report

import (
	"slices"
	"strings"
)

// Merge joins runs, for instance the shards of one matrix, into one. Every suite is
// kept: several of the same scenario and place are numbered as attempts by when they
// began, and each counts, because a retry does not undo a failure.
func Merge(ms []Matrix) Matrix {
	if len(ms) == 0 {
		return Matrix{}
	}
	var out Matrix
	var parts []Run
	for _, m := range ms {
		if len(m.Run.Parts) > 0 {
			parts = append(parts, m.Run.Parts...)
		} else {
			parts = append(parts, m.Run)
		}
		for _, s := range m.Suites {
			if s.Run == "" {
				s.Run = m.Run.ID
			}
			out.Suites = append(out.Suites, s)
		}
	}
	numberAttempts(out.Suites)
	if len(parts) == 1 {
		out.Run = parts[0]
		return out
	}
	out.Run = mergeRuns(parts)
	out.Run.Exit = ExitCode(out, out.Run.Named)
	return out
}

// numberAttempts numbers suites of the same scenario and place by when they began. An
// only one has no number.
func numberAttempts(suites []Suite) {
	type key struct{ scenario, where string }
	same := map[key][]int{}
	for i, s := range suites {
		suites[i].Attempt = 0
		k := key{s.Scenario, s.Where}
		if k.where == "" {
			k.where = "host"
		}
		same[k] = append(same[k], i)
	}
	for _, at := range same {
		if len(at) < 2 {
			continue
		}
		slices.SortStableFunc(at, func(a, b int) int { return suites[a].Started.Compare(suites[b].Started) })
		for n, i := range at {
			suites[i].Attempt = n + 1
		}
	}
}

// mergeRuns says of several runs what is true of all of them; the runs themselves
// stay in Parts.
func mergeRuns(parts []Run) Run {
	out := Run{Parts: parts, Machine: parts[0].Machine, Args: parts[0].Args, Versions: map[string]string{}}
	var ids []string
	for _, p := range parts {
		ids = append(ids, p.ID)
		if !p.Started.IsZero() && (out.Started.IsZero() || p.Started.Before(out.Started)) {
			out.Started = p.Started
		}
		if p.Ended.After(out.Ended) {
			out.Ended = p.Ended
		}
		for _, name := range p.Scenarios {
			if !slices.Contains(out.Scenarios, name) {
				out.Scenarios = append(out.Scenarios, name)
			}
		}
		out.Named = out.Named || p.Named
		out.Interrupted = out.Interrupted || p.Interrupted
		out.Timings = append(out.Timings, p.Timings...)
		if p.Machine != out.Machine {
			out.Machine = Machine{}
		}
		if !slices.Equal(p.Args, out.Args) {
			out.Args = nil
		}
		mergeVersions(out.Versions, p.Versions)
	}
	out.ID = strings.Join(ids, "+")
	return out
}

// mergeVersions adds versions, and keeps both values where runs disagree.
func mergeVersions(into, from map[string]string) {
	for name, version := range from {
		old, seen := into[name]
		switch {
		case !seen:
			into[name] = version
		case !slices.Contains(strings.Split(old, ", "), version):
			into[name] = old + ", " + version
		}
	}
}
