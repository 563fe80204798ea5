// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package job

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// EventType says what an event tells.
type EventType string

// The events of a guest, in the order they come. Output may come any number of times
// between the first two.
const (
	Ready   EventType = "ready"   // the guest is up and measured: Slowdown and Limit are set
	Output  EventType = "output"  // the command wrote Data to Stream
	Exit    EventType = "exit"    // the command ended with Code
	Packed  EventType = "packed"  // the results are on their disk
	Trouble EventType = "trouble" // the guest could not do its part: Text says why
)

// Event is one line of the guest's second serial line.
type Event struct {
	Type     EventType     `json:"type"`
	Stream   string        `json:"stream,omitempty"` // stdout or stderr
	Data     []byte        `json:"data,omitempty"`
	Text     string        `json:"text,omitempty"`
	Slowdown float64       `json:"slowdown,omitempty"`
	Limit    time.Duration `json:"limitNS,omitempty"`
	Code     int           `json:"code,omitempty"`
	Killed   bool          `json:"killed,omitempty"` // the command was ended at its limit
}

// Writer sends events. Its methods may be called from several goroutines.
type Writer struct {
	mu sync.Mutex
	w  io.Writer
}

// NewWriter sends to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Send writes one event as a line.
func (w *Writer) Send(e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("send event: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("send event: %w", err)
	}
	return nil
}

// Stream is a writer whose text becomes events.
func (w *Writer) Stream(name string) io.Writer { return stream{w, name} }

type stream struct {
	to   *Writer
	name string
}

func (s stream) Write(p []byte) (int, error) {
	if err := s.to.Send(Event{Type: Output, Stream: s.name, Data: p}); err != nil {
		return 0, err
	}
	return len(p), nil
}

// maxLine bounds an event, in bytes: the guest writes what a pipe holds at a time.
const maxLine = 1 << 20

// ReadEvents calls each for every event until the line ends. What is no event is given to
// other: a serial line carries whatever writes to it. Lines that are too long are cut.
func ReadEvents(r io.Reader, each func(Event), other func(line []byte)) error {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		if trimmed := bytes.TrimRight(line, "\r\n"); len(trimmed) > 0 {
			var e Event
			if json.Unmarshal(trimmed, &e) == nil && e.Type != "" {
				each(e)
			} else {
				other(trimmed)
			}
		}
		switch {
		case err == nil, err == bufio.ErrBufferFull:
		case err == io.EOF:
			return nil
		default:
			return fmt.Errorf("read events: %w", err)
		}
	}
}
