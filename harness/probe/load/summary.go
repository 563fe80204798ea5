// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"cmp"
	"fmt"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// Summary is one run as a person, or a script with one question, wants it. Times are in
// nanoseconds.
type Summary struct {
	Mode     string           `json:"mode"`
	Schedule string           `json:"schedule"`
	Rate     float64          `json:"rate"` // requests per second asked for; of a ramp the first
	Warmup   int64            `json:"warmup"`
	Totals   probe.LoadTotals `json:"totals"` // without those of each target; of a ramp zero
	Targets  []TargetSummary  `json:"targets"`
	Ramp     *RampSummary     `json:"ramp,omitempty"`
	Complete bool             `json:"complete"` // the stream is whole, and what was asked for was done
	Reason   string           `json:"reason"`   // why the run ended, or what is wrong with its stream
}

// TargetSummary is one target.
type TargetSummary struct {
	Name     string                         `json:"name"`
	Address  string                         `json:"address"`
	Totals   probe.LoadTotals               `json:"totals"`
	Latency  map[string]probe.LoadHistogram `json:"latency"` // by histogram name
	Backends map[string]probe.BackendCount  `json:"backends"`
	Errors   map[string]ErrorSummary        `json:"errors"` // by kind
}

// ErrorSummary is one kind of error.
type ErrorSummary struct {
	Count int64  `json:"count"`
	First string `json:"first"` // its first message
}

// RampSummary is a search for the highest rate.
type RampSummary struct {
	probe.Ramp
	probe.RampTotals
	Tried []probe.LoadStep `json:"tried"`
}

// Summarize sums up the records of one run. A torn stream is summed up as far as it
// goes, with Complete false; a record that cannot be read is an error.
func Summarize(records []probe.Record) (Summary, error) {
	var s Summary
	for _, record := range records {
		if err := s.add(record); err != nil {
			return Summary{}, fmt.Errorf("summarize: %w", err)
		}
	}
	if err := stream.Check(records); err != nil {
		s.Complete, s.Reason = false, err.Error()
	}
	return s, nil
}

// target finds a target; one that the arguments do not name has a place of its own.
func (s *Summary) target(name string) *TargetSummary {
	for i := range s.Targets {
		if s.Targets[i].Name == name {
			return &s.Targets[i]
		}
	}
	s.Targets = append(s.Targets, TargetSummary{
		Name: name, Latency: map[string]probe.LoadHistogram{}, Backends: map[string]probe.BackendCount{}, Errors: map[string]ErrorSummary{},
	})
	return &s.Targets[len(s.Targets)-1]
}

func (s *Summary) add(record probe.Record) error {
	switch record.Kind {
	case probe.KindStart:
		start, err := probe.Decode[probe.Start](record)
		if err != nil {
			return err
		}
		args, err := probe.Decode[probe.LoadArgs](probe.Record{Seq: record.Seq, Kind: record.Kind, Body: start.Args})
		s.Mode, s.Schedule, s.Rate, s.Warmup = args.Mode, cmp.Or(args.Schedule, probe.ScheduleConstant), args.Rate, args.Warmup
		for _, t := range args.Targets {
			s.target(t.Name).Address = t.Address
		}
		if args.Ramp != nil {
			s.Ramp = &RampSummary{Ramp: *args.Ramp}
		}
		return err
	case probe.KindLoadError:
		e, err := probe.Decode[probe.LoadError](record)
		t := s.target(e.Target)
		sum := t.Errors[e.ErrorKind]
		t.Errors[e.ErrorKind] = ErrorSummary{sum.Count + 1, cmp.Or(sum.First, e.Message)}
		return err
	case probe.KindLoadHistogram:
		h, err := probe.Decode[probe.LoadHistogram](record)
		s.target(h.Target).Latency[h.Name] = h
		return err
	case probe.KindLoadPeers:
		p, err := probe.Decode[probe.LoadPeers](record)
		if p.Backends != nil {
			s.target(p.Target).Backends = p.Backends
		}
		return err
	case probe.KindLoadStep:
		step, err := probe.Decode[probe.LoadStep](record)
		if err == nil && s.Ramp != nil {
			s.Ramp.Tried = append(s.Ramp.Tried, step)
		}
		return err
	case probe.KindEnd:
		return s.end(record)
	}
	return nil
}

func (s *Summary) end(record probe.Record) error {
	end, err := probe.Decode[probe.End](record)
	if err != nil {
		return err
	}
	s.Complete = end.Reason == probe.ReasonDone
	s.Reason = cmp.Or(end.Error, end.Reason)
	if len(end.Totals) == 0 {
		return nil
	}
	body := probe.Record{Seq: record.Seq, Kind: record.Kind, Body: end.Totals}
	if s.Ramp != nil {
		s.Ramp.RampTotals, err = probe.Decode[probe.RampTotals](body)
		return err
	}
	s.Totals, err = probe.Decode[probe.LoadTotals](body)
	for name, totals := range s.Totals.Targets {
		s.target(name).Totals = totals
	}
	s.Totals.Targets = nil
	return err
}
