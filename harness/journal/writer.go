// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// FileName is a journal's name in its scenario's folder.
const FileName = "journal.jsonl"

// Writer appends records to a journal. It is safe for concurrent use. Every record
// is one write call, so a killed process leaves at most one torn line, the last.
type Writer struct {
	mu     sync.Mutex
	f      *os.File
	opened time.Time
	seq    int64
	phase  string
	err    error // first write error; a journal that lost a record takes no more
}

// Create makes a new journal at path and writes its header. It fails when the file
// exists: a journal is never continued by another process.
func Create(path string, h Header) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	w := &Writer{f: f, opened: time.Now()}
	h.Format = Version
	h.Clock = now(w.opened)
	if err := w.Write(KindHeader, h); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// now reads the monotonic clock for a realtime moment that has just been read.
func now(at time.Time) Clock {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return Clock{Realtime: at.UnixNano()}
	}
	return Clock{Realtime: at.UnixNano(), Monotonic: ts.Nano()}
}

// Write appends one record outside any observation, in the current phase.
func (w *Writer) Write(kind string, body any) error {
	return w.append("", "", kind, body)
}

// BeginPhase starts a phase; every later record belongs to it until EndPhase.
func (w *Writer) BeginPhase(name string) error {
	w.mu.Lock()
	w.phase = name
	w.mu.Unlock()
	return w.Write(KindPhaseBegin, struct{}{})
}

// EndPhase ends the current phase.
func (w *Writer) EndPhase() error {
	err := w.Write(KindPhaseEnd, struct{}{})
	w.mu.Lock()
	w.phase = ""
	w.mu.Unlock()
	return err
}

func (w *Writer) append(observation, stream, kind string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode journal record %s: %w", kind, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.appendLocked(observation, stream, kind, raw)
}

// errClosed is what is written after the end record, by goroutines that outlive the run.
var errClosed = errors.New("write journal: it is closed")

// appendLocked appends a record while w.mu is held.
func (w *Writer) appendLocked(observation, stream, kind string, raw json.RawMessage) error {
	if w.err != nil {
		return w.err
	}
	at := time.Now()
	line, err := json.Marshal(Record{
		Seq: w.seq + 1, Time: at.UTC(), Mono: at.Sub(w.opened).Nanoseconds(),
		Phase: w.phase, Observation: observation, Stream: stream, Kind: kind, Body: raw,
	})
	if err != nil {
		return fmt.Errorf("encode journal record %s: %w", kind, err)
	}
	if _, err := w.f.Write(append(line, '\n')); err != nil {
		w.err = fmt.Errorf("write journal: %w", err)
		return w.err
	}
	w.seq++
	return nil
}

// Close writes the end record and closes the file.
func (w *Writer) Close(reason string, cause error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	end := End{Records: w.seq + 1, Reason: reason}
	w.phase = ""
	if cause != nil {
		end.Error = cause.Error()
	}
	raw, err := json.Marshal(end)
	if err == nil {
		err = w.appendLocked("", "", KindEnd, raw)
	}
	if w.err == nil {
		w.err = errClosed // nothing comes after it
	}
	return errors.Join(err, w.f.Sync(), w.f.Close())
}

// Observation is an open observation. Its records lie between its begin and its end.
type Observation struct {
	w       *Writer
	id      string
	mu      sync.Mutex
	records int64
	streams []string
}

// Begin opens an observation. Observations do not nest and do not overlap.
func (w *Writer) Begin(id string) (*Observation, error) {
	o := &Observation{w: w, id: id}
	return o, o.Write(KindObservationBegin, ObservationBegin{ID: id})
}

// Write appends a record of the observation.
func (o *Observation) Write(kind string, body any) error {
	return o.append("", kind, body)
}

func (o *Observation) append(stream, kind string, body any) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.w.append(o.id, stream, kind, body); err != nil {
		return err
	}
	o.records++
	return nil
}

// Stream announces an instrument run and returns the sink of its lines. A name is
// used once within an observation.
func (o *Observation) Stream(name string) *Stream {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.streams = append(o.streams, name)
	return &Stream{o: o, name: name}
}

// End closes the observation. cause says why the harness could not finish it.
func (o *Observation) End(cause error) error {
	o.mu.Lock()
	end := ObservationEnd{ID: o.id, Records: o.records + 1, Streams: o.streams}
	o.mu.Unlock()
	if cause != nil {
		end.Error = cause.Error()
	}
	return o.Write(KindObservationEnd, end)
}
