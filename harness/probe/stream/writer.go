// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package stream frames the run of an instrument: numbered JSON lines that open
// with a start record and close with exactly one end record, whatever ended the
// run. A reader that sees a gap, or no end, knows that data was lost.
package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// ErrEnded is what Emit returns after the end record was written.
var ErrEnded = errors.New("stream has ended")

// Writer numbers records and writes each as one line. It is safe for concurrent
// use. The first failed write is final: every later call returns its error, and
// the context of a running Session is cancelled, since an instrument that nobody
// can hear must not keep sending.
type Writer struct {
	mu      sync.Mutex
	out     io.Writer
	now     func() time.Time
	seq     int64
	ended   bool
	failed  error
	onError func(error)
}

// NewWriter returns a Writer on out. Every record is passed to out in one Write
// call, at once: out must not buffer, or lines would be lost when the process is
// killed.
func NewWriter(out io.Writer) *Writer {
	return &Writer{out: out, now: time.Now}
}

// Emit writes one record. Kinds start and end are Session's own.
func (w *Writer) Emit(kind string, body any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.emit(kind, body)
}

func (w *Writer) emit(kind string, body any) error {
	switch {
	case w.failed != nil:
		return w.failed
	case w.ended:
		return ErrEnded
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return w.fail(fmt.Errorf("encode %s record: %w", kind, err))
	}
	line, err := json.Marshal(probe.Record{Seq: w.seq + 1, Kind: kind, Time: w.now().UnixNano(), Body: raw})
	if err != nil {
		return w.fail(fmt.Errorf("encode %s record: %w", kind, err))
	}
	if _, err := w.out.Write(append(line, '\n')); err != nil {
		return w.fail(fmt.Errorf("write %s record: %w", kind, err))
	}
	w.seq++
	return nil
}

// fail remembers the first error. The caller holds the lock.
func (w *Writer) fail(err error) error {
	w.failed = err
	if w.onError != nil {
		w.onError(err)
	}
	return err
}

// end writes the end record, once; later calls return ErrEnded.
func (w *Writer) end(body probe.End) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	body.Records = w.seq + 1
	if err := w.emit(probe.KindEnd, body); err != nil {
		return err
	}
	w.ended = true
	return nil
}

func (w *Writer) notify(onError func(error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.onError = onError
}
