// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package junit writes and reads the subset of JUnit XML that Jenkins' xunit plugin
// (schema junit-10) and GitHub's usual reporters agree on.
//
// There is no JUnit standard. The subset leaves out what one of them refuses: totals
// of skipped cases on the root, properties of cases, times with an exponent.
package junit

import "time"

// Status is how a case came out.
type Status string

// The statuses of a case. Any other is written as an error.
const (
	Passed  Status = "pass"
	Failure Status = "failure"
	Error   Status = "error"
	Skipped Status = "skipped"
)

// Document is one file.
type Document struct {
	Name   string
	Time   time.Duration // kept to the millisecond
	Suites []Suite
}

// Suite is a group of cases.
type Suite struct {
	Name       string
	Time       time.Duration
	Timestamp  time.Time // kept to the second; not written when zero
	Hostname   string
	Properties []Property
	Cases      []Case
}

// Property is a named value of a suite.
type Property struct{ Name, Value string }

// Case is one test. Type, Message and Text belong to the status, so a passed case has
// none: what it has to say goes to Out.
type Case struct {
	Class   string
	Name    string
	Time    time.Duration
	Status  Status
	Type    string // machine-readable kind of the failure, error or skip
	Message string // one line
	Text    string // everything
	Out     string // system-out
}

// Totals are numbers of cases. Tests counts all of them.
type Totals struct{ Tests, Failures, Errors, Skipped int }

// Totals counts the cases of a suite.
func (s Suite) Totals() Totals {
	t := Totals{Tests: len(s.Cases)}
	for _, c := range s.Cases {
		switch c.Status {
		case Passed:
		case Failure:
			t.Failures++
		case Skipped:
			t.Skipped++
		default: // Error, and what nobody knows: never a pass
			t.Errors++
		}
	}
	return t
}

// Totals counts the cases of a document.
func (d Document) Totals() Totals {
	var t Totals
	for _, s := range d.Suites {
		n := s.Totals()
		t.Tests += n.Tests
		t.Failures += n.Failures
		t.Errors += n.Errors
		t.Skipped += n.Skipped
	}
	return t
}
