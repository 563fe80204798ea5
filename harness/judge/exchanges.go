// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// exchanged is what became of the exchanges with one target.
type exchanged struct {
	target  journal.Target
	results []probe.ExchangeResult
	kinds   map[string]int64 // error kind -> exchanges
	failed  int
	first   string // the first error, in words
}

// readExchanges reads an exchange run, target by target in the order of its paths, and
// holds it to what was planned: every exchange with every target is recorded once.
func readExchanges(f journal.Facts, observation, stream string) ([]exchanged, error) {
	span, err := f.Observation(observation)
	if err != nil {
		return nil, err
	}
	asked, err := targets(f, span)
	if err != nil {
		return nil, err
	}
	run, err := span.Stream(stream)
	if err != nil {
		return nil, err
	}
	args, err := startArgs[probe.ExchangeArgs](run)
	if err != nil {
		return nil, err
	}
	totals, err := journal.Totals[probe.ExchangeTotals](run)
	if err != nil {
		return nil, err
	}
	results, err := journal.Items[probe.ExchangeResult](run, probe.KindExchange)
	if err != nil {
		return nil, err
	}
	if want := args.Count * len(args.Targets); len(results) != want || totals.Exchanges != want || want == 0 {
		return nil, fmt.Errorf("instrument %s: %d exchanges were to be made, it counted %d and recorded %d", stream, want, totals.Exchanges, len(results))
	}
	var out []exchanged
	for _, t := range asked {
		if t.Stream != stream {
			continue
		}
		e := exchanged{target: t, kinds: map[string]int64{}}
		for _, r := range results {
			if r.Target != t.Name {
				continue
			}
			e.results = append(e.results, r)
			if r.ErrorKind != "" {
				e.failed++
				e.kinds[r.ErrorKind]++
				if e.first == "" {
					e.first = r.Message
				}
			}
		}
		if len(e.results) != args.Count {
			return nil, fmt.Errorf("instrument %s: %d of %d exchanges with %s are recorded", stream, len(e.results), args.Count, t.Name)
		}
		out = append(out, e)
	}
	if len(out) != len(args.Targets) {
		return nil, fmt.Errorf("instrument %s: %d targets were asked and %d are planned", stream, len(args.Targets), len(out))
	}
	return out, nil
}

// durations are the times of the exchanges that went well, in ns.
func (e exchanged) durations() []int64 {
	var out []int64
	for _, r := range e.results {
		if r.ErrorKind == "" {
			out = append(out, r.DurationNS)
		}
	}
	return out
}

// tooMany says that more exchanges failed than the share allowed.
func (e exchanged) tooMany(share float64) bool {
	return float64(e.failed) > share*float64(len(e.results))
}

// firstOf is what the first error of a kind says.
func (e exchanged) firstOf(kind string) string {
	for _, r := range e.results {
		if r.ErrorKind == kind {
			return r.Message
		}
	}
	return "none"
}
