// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// EventType says what an event tells.
type EventType string

// The events a worker sends.
const (
	StepBegin EventType = "step.begin"
	StepEnd   EventType = "step.end"
	Progress  EventType = "progress"
	Timed     EventType = "timed" // a part of the bring-up, which may have gone on beside others
	Kept      EventType = "kept"  // the cluster stays, by the user's choice; the message says how to reach it
)

// Event is one line of a worker's stdout: its progress, for people and for the
// parent's clock. Facts go to the journal, never here.
type Event struct {
	Type     EventType `json:"type"`
	Time     time.Time `json:"time"`
	Scenario string    `json:"scenario"`
	Step     string    `json:"step,omitempty"`
	Index    int       `json:"index,omitempty"` // of the step, from 1
	Steps    int       `json:"steps,omitempty"` // how many there are
	Message  string    `json:"message,omitempty"`
	Elapsed  int64     `json:"elapsedMS,omitempty"`
	Began    int64     `json:"beganMS,omitempty"` // of what was timed, after the first began
	After    []string  `json:"after,omitempty"`   // of what was timed: what it waited for
	Error    string    `json:"error,omitempty"`
}

// emitter writes events, one line each.
type emitter struct {
	mu       sync.Mutex
	w        io.Writer
	scenario string
}

func (e *emitter) emit(ev Event) {
	ev.Time, ev.Scenario = time.Now().UTC(), e.scenario
	line, err := json.Marshal(ev)
	if err != nil {
		return // an Event holds nothing that cannot be encoded
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	// A parent that is gone is noticed on stdin, not here.
	_, _ = e.w.Write(append(line, '\n'))
}
