// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package report writes what a run found: verdicts.json for programs, junit.xml for
// CI, matrix.md for people and a plain matrix for the terminal.
//
// A report adds no judgement of its own. Every writer reads the same table (see
// [Table]) and the same cells (see [Matrix.AllSuites]), so that a run cannot be green
// in one file and red in another, and what did not run is named in all of them.
package report

import (
	"time"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
)

// Matrix is everything that one run, or several merged runs, found.
type Matrix struct {
	Run    Run     `json:"run"`
	Suites []Suite `json:"suites"`
}

// Run says what was asked for, what ran it and how it ended.
type Run struct {
	ID          string            `json:"id"`
	Started     time.Time         `json:"started"`
	Ended       time.Time         `json:"ended"`
	Args        []string          `json:"args,omitempty"`
	Scenarios   []string          `json:"scenarios,omitempty"` // names of those asked for, in order
	Named       bool              `json:"named"`               // a scenario was named on the command line
	Versions    map[string]string `json:"versions,omitempty"`
	Machine     Machine           `json:"machine"`
	Exit        int               `json:"exit"`
	Interrupted bool              `json:"interrupted,omitempty"`
	Timings     []Timing          `json:"timings,omitempty"`
	Parts       []Run             `json:"parts,omitempty"` // the runs that a merged one is made of
}

// Machine is the computer a run ran on.
type Machine = journal.Machine

// Timing is how long one named step took.
//
// What went on beside others says when it began, and what it waited for.
type Timing struct {
	Name    string        `json:"name"`
	Of      string        `json:"of,omitempty"` // the scenario whose bring-up it is a part of
	Began   time.Duration `json:"beganNS,omitempty"`
	Elapsed time.Duration `json:"elapsedNS"`
	After   []string      `json:"after,omitempty"`
}

// Property is a named fact about a suite: a version, the node image.
type Property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Suite is one scenario as it ran in one place.
//
// NotRun says why the scenario as a whole did not run, or did not get to its end. It
// counts as broken unless Unsupported (something is missing here) or Skipped (the
// user's choice) says otherwise: a failure to start must not pass for a choice.
type Suite struct {
	Scenario    string        `json:"scenario"`
	Title       string        `json:"title,omitempty"`
	Where       string        `json:"where,omitempty"`   // host or guest
	Machine     *Machine      `json:"machine,omitempty"` // the guest, where it ran in one; else the run's
	Run         string        `json:"run,omitempty"`     // ID of the run it is from, in a merged matrix
	Attempt     int           `json:"attempt,omitempty"` // from 1, when there are several of the same scenario and place
	Started     time.Time     `json:"started"`
	Elapsed     time.Duration `json:"elapsedNS"`
	Cells       []judge.Cell  `json:"cells"`
	NotRun      string        `json:"notRun,omitempty"`
	Unsupported bool          `json:"unsupported,omitempty"`
	Skipped     bool          `json:"skipped,omitempty"`
	Properties  []Property    `json:"properties,omitempty"`
	Steps       []Timing      `json:"steps,omitempty"`
}
