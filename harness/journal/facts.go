// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// Facts are the facts of one phase, as a check sees them. Whatever is asked for is
// either whole or an error: a gap, a missing end or an observation that the harness
// could not finish never yields partial data. They are for one goroutine at a time,
// since they keep what Once read.
type Facts struct {
	j     *Journal
	phase string
	once  map[string]any
}

// Phase returns the facts of one phase.
func (j *Journal) Phase(name string) Facts {
	return Facts{j: j, phase: name, once: map[string]any{}}
}

// Once returns what read makes of the facts, and asks it the first time only: what many
// checks of a phase look at need not be decoded for each. A name stands for one thing;
// nobody may change what is returned.
func Once[T any](f Facts, name string, read func(Facts) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	a, ok := f.once[name].(answer)
	if !ok {
		a.value, a.err = read(f)
		f.once[name] = a
	}
	return a.value, a.err
}

// Name is the phase's name.
func (f Facts) Name() string { return f.phase }

// Header is the journal's header.
func (f Facts) Header() Header { return f.j.Header }

// Topology is who is who on the segment.
func (f Facts) Topology() (Topology, error) {
	if f.j.Disorder != nil {
		return Topology{}, f.j.Disorder
	}
	// The newest wins: it is written again when the cluster's nodes change.
	for _, rec := range slices.Backward(f.j.Records) {
		if rec.Kind == KindTopology {
			return decode[Topology](rec)
		}
	}
	return Topology{}, errors.New("no topology was recorded")
}

// Span is one whole observation: every record between its begin and its end.
type Span struct {
	ID        string
	ElapsedMS int64
	records   []Record
	streams   []string
}

// Observation returns the phase's observation id, checked for completeness. It is looked up
// once for all checks of the phase.
func (f Facts) Observation(id string) (Span, error) {
	return Once(f, "observation "+id, func(f Facts) (Span, error) { return f.observation(id) })
}

func (f Facts) observation(id string) (Span, error) {
	if f.j.Disorder != nil {
		return Span{}, fmt.Errorf("observation %s: %w", id, f.j.Disorder)
	}
	var recs []Record
	for _, r := range f.j.Records {
		if r.Phase == f.phase && r.Observation == id {
			recs = append(recs, r)
		}
	}
	if len(recs) == 0 {
		return Span{}, fmt.Errorf("observation %s: %w", id, ErrNoData)
	}
	first, last := recs[0], recs[len(recs)-1]
	if first.Kind != KindObservationBegin {
		return Span{}, fmt.Errorf("observation %s: %w: its begin record is missing", id, ErrLost)
	}
	if last.Kind != KindObservationEnd {
		return Span{}, fmt.Errorf("observation %s: %w: its end record is missing", id, ErrLost)
	}
	end, err := decode[ObservationEnd](last)
	if err != nil {
		return Span{}, err
	}
	if end.Error != "" {
		return Span{}, fmt.Errorf("observation %s could not be finished: %s", id, end.Error)
	}
	if n := int64(len(recs)); n != end.Records {
		return Span{}, fmt.Errorf("observation %s: %w: %d records of %d are there", id, ErrLost, n, end.Records)
	}
	for i := 1; i < len(recs); i++ {
		if k := recs[i].Kind; k == KindObservationBegin || (k == KindObservationEnd && i != len(recs)-1) {
			return Span{}, fmt.Errorf("observation %s: %w: it was opened twice", id, ErrLost)
		}
	}
	return Span{
		ID: id, records: recs, streams: end.Streams,
		ElapsedMS: (last.Mono - first.Mono) / 1e6,
	}, nil
}

// Streams names the instruments' runs that were made in the span.
func (s Span) Streams() []string { return slices.Clone(s.streams) }

// ErrNoData is an observation of which nothing was recorded; ErrLost one of which
// records are missing.
var (
	ErrNoData = errors.New("nothing was recorded")
	ErrLost   = errors.New("records were lost")
)

// Bodies decodes every record of a kind that the harness wrote in the span.
func Bodies[T any](s Span, kind string) ([]T, error) {
	var out []T
	for _, r := range s.records {
		if r.Kind != kind {
			continue
		}
		v, err := decode[T](r)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// One decodes the single record of a kind in the span.
func One[T any](s Span, kind string) (T, error) {
	all, err := Bodies[T](s, kind)
	if err == nil && len(all) != 1 {
		err = fmt.Errorf("observation %s: %d records %s, want 1", s.ID, len(all), kind)
	}
	if err != nil {
		var none T
		return none, err
	}
	return all[0], nil
}

// Run is one whole run of an instrument.
type Run struct {
	Stream  string
	Start   probe.Start
	End     probe.End
	Records []probe.Record
}

// Stream returns the records of one instrument run of the span. It is an error when
// the run has a gap, lacks its start or end, or did not end because its work was done.
func (s Span) Stream(name string) (Run, error) {
	if !slices.Contains(s.streams, name) {
		return Run{}, fmt.Errorf("instrument %s: %w", name, ErrNoData)
	}
	run := Run{Stream: name}
	for _, r := range s.records {
		if r.Kind != KindInstrument || r.Stream != name {
			continue
		}
		rec, err := decode[probe.Record](r)
		if err != nil {
			return Run{}, err
		}
		if want := int64(len(run.Records) + 1); rec.Seq != want {
			return Run{}, fmt.Errorf("instrument %s: %w: record %d where %d was due", name, ErrLost, rec.Seq, want)
		}
		run.Records = append(run.Records, rec)
	}
	return run, run.check()
}

func (r *Run) check() error {
	if len(r.Records) == 0 {
		return fmt.Errorf("instrument %s: %w", r.Stream, ErrNoData)
	}
	first, last := r.Records[0], r.Records[len(r.Records)-1]
	if first.Kind != probe.KindStart || last.Kind != probe.KindEnd {
		return fmt.Errorf("instrument %s: %w: its start or end record is missing", r.Stream, ErrLost)
	}
	if err := json.Unmarshal(first.Body, &r.Start); err != nil {
		return fmt.Errorf("instrument %s: decode start: %w", r.Stream, err)
	}
	if err := json.Unmarshal(last.Body, &r.End); err != nil {
		return fmt.Errorf("instrument %s: decode end: %w", r.Stream, err)
	}
	if r.End.Records != last.Seq {
		return fmt.Errorf("instrument %s: %w: it wrote %d records, %d are there", r.Stream, ErrLost, r.End.Records, last.Seq)
	}
	if r.End.Reason != probe.ReasonDone {
		return fmt.Errorf("instrument %s ended early (%s): %s", r.Stream, r.End.Reason, r.End.Error)
	}
	return nil
}

// Items decodes every record of a kind in the run.
func Items[T any](r Run, kind string) ([]T, error) {
	var out []T
	for _, rec := range r.Records {
		if rec.Kind != kind {
			continue
		}
		var v T
		if err := json.Unmarshal(rec.Body, &v); err != nil {
			return nil, fmt.Errorf("instrument %s: decode %s: %w", r.Stream, kind, err)
		}
		out = append(out, v)
	}
	return out, nil
}

// Totals decodes the totals the instrument ended with.
func Totals[T any](r Run) (T, error) {
	var v T
	if err := json.Unmarshal(r.End.Totals, &v); err != nil {
		return v, fmt.Errorf("instrument %s: decode totals: %w", r.Stream, err)
	}
	return v, nil
}

// decode reads a record's body.
func decode[T any](r Record) (T, error) {
	var v T
	if err := json.Unmarshal(r.Body, &v); err != nil {
		return v, fmt.Errorf("decode %s record %d: %w", r.Kind, r.Seq, err)
	}
	return v, nil
}

// Failure is the first step that failed, with its error, or nil. Checks that found
// no data name it: it is nearly always the reason.
func (j *Journal) Failure() *Step {
	for _, r := range j.Records {
		if r.Kind != KindStepEnd {
			continue
		}
		if s, err := decode[Step](r); err == nil && s.Error != "" {
			return &s
		}
	}
	return nil
}

// Refused is why the fault of a mutation was not applied, "" where it was or where no
// record says so. It is asked of the mutation's phase or of its restored one.
func (j *Journal) Refused(phase string) string {
	name, ok := strings.CutPrefix(phase, PrefixMutation)
	if !ok {
		if name, ok = strings.CutPrefix(phase, PrefixRestored); !ok {
			return ""
		}
	}
	for _, r := range j.Records {
		if r.Kind != KindFault || r.Phase != MutationPhase(name) {
			continue
		}
		if v, err := decode[Fault](r); err == nil && v.Action == FaultRefuse {
			return v.Detail
		}
	}
	return ""
}

// Unsupported is why the scenario could not run here, or nil.
func (j *Journal) Unsupported() *Unsupported {
	for _, r := range j.Records {
		if r.Kind != KindUnsupported {
			continue
		}
		if u, err := decode[Unsupported](r); err == nil {
			return &u
		}
	}
	return nil
}

// Steps returns the finished steps, in order.
func (j *Journal) Steps() []Step {
	var out []Step
	for _, r := range j.Records {
		if r.Kind != KindStepEnd {
			continue
		}
		if s, err := decode[Step](r); err == nil {
			out = append(out, s)
		}
	}
	return out
}

// FaultsVerified says that the phase is what its name says: in a mutation phase the
// fault was applied and seen to be there, in a restored phase it was undone and
// seen to be gone. Other phases need nothing.
func (f Facts) FaultsVerified() error {
	var want []string
	switch {
	case strings.HasPrefix(f.phase, PrefixMutation):
		want = []string{FaultApply, FaultVerify}
	case strings.HasPrefix(f.phase, PrefixRestored):
		want = []string{FaultUndo, FaultVerify}
	}
	done := map[string]bool{}
	for _, r := range f.j.Records {
		if r.Phase != f.phase || r.Kind != KindFault {
			continue
		}
		v, err := decode[Fault](r)
		if err != nil {
			return err
		}
		if v.Error != "" {
			return fmt.Errorf("fault %s: %s failed: %s", v.Name, v.Action, v.Error)
		}
		done[v.Action] = true
	}
	for _, w := range want {
		if !done[w] {
			return fmt.Errorf("phase %s: fault: %w: no record of %s", f.phase, ErrNoData, w)
		}
	}
	return nil
}
