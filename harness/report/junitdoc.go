// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report

import (
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/report/junit"
)

// WriteJUnit writes the matrix as JUnit XML, one suite per scenario.
func WriteJUnit(w io.Writer, m Matrix) error { return junit.Write(w, JUnitDocument(m)) }

// JUnitDocument is the matrix as JUnit. Case names are check IDs and class names are
// scenarios (with the phase, outside the baseline), so that CI keeps their history.
func JUnitDocument(m Matrix) junit.Document {
	doc := junit.Document{Name: "lbmatrix", Time: m.Run.elapsed()}
	cases, suites := names{}, names{}
	for _, s := range m.AllSuites() {
		js := junit.Suite{
			Name: suites.unique(junit.Clean(s.Label())), Time: s.Elapsed, Timestamp: s.Started,
			Hostname: m.runOf(s).Machine.Host, Properties: suiteProperties(m.runOf(s), s),
		}
		for _, c := range s.AllCells() {
			jc := junitCase(c)
			jc.Class = junit.Clean(className(s, c))
			// Reporters know a case by class and name; two alike would hide one.
			jc.Name = cases.unique(jc.Class + "\x00" + junit.Clean(jc.Name))[len(jc.Class)+1:]
			js.Cases = append(js.Cases, jc)
		}
		doc.Suites = append(doc.Suites, js)
	}
	return doc
}

// className is where a case belongs.
func className(s Suite, c judge.Cell) string {
	if c.Phase == "" || c.Phase == journal.PhaseBaseline {
		return s.Label()
	}
	return s.Label() + "." + c.Phase
}

// junitCase is a cell as a case, its class aside.
func junitCase(c judge.Cell) junit.Case {
	jc := junit.Case{Name: c.Check, Time: time.Duration(c.ElapsedMS) * time.Millisecond}
	switch JUnit(c.Result) {
	case JUnitPass:
		jc.Status = junit.Passed
	case JUnitFailure:
		jc.Status = junit.Failure
	case JUnitSkipped:
		jc.Status = junit.Skipped
	default:
		jc.Status = junit.Error
	}
	if jc.Status == junit.Passed {
		jc.Out = details(c)
		return jc
	}
	jc.Type, jc.Message, jc.Text = c.Verdict.Code, Explain(c), details(c)
	if jc.Status != junit.Skipped {
		jc.Out = jc.Text // some reporters show only this, some only the failure
	}
	return jc
}

// details is all that a cell has to say, as text.
func details(c judge.Cell) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if text := Explain(c); text != "" {
		line("%s", text)
	}
	if c.Title != "" {
		line("check: %s (%s)", c.Check, c.Title)
	}
	if c.Verdict.Code != "" {
		line("code: %s", c.Verdict.Code)
	}
	if c.Expected != "" {
		line("expected: %s", c.Expected)
	}
	if c.Where != "" {
		line("where: %s", c.Where)
	}
	for _, f := range c.Verdict.Figures {
		line("figure: %s", figureText(f))
	}
	for _, f := range c.Verdict.Findings {
		line("finding: %s: %s", f.Component, f.Message)
	}
	return b.String()
}

// suiteProperties are versions, facts, and every figure of a suite. JUnit knows no
// properties of cases that all readers accept, so a figure's name says which it is of.
func suiteProperties(r Run, s Suite) []junit.Property {
	var ps []junit.Property
	add := func(name, value string) {
		if value != "" {
			ps = append(ps, junit.Property{Name: name, Value: value})
		}
	}
	add("title", s.Title)
	add("where", s.Where)
	add("run", orElse(s.Run, r.ID))
	if s.Attempt > 0 {
		add("attempt", strconv.Itoa(s.Attempt))
	}
	for _, name := range sortedKeys(r.Versions) {
		add("version/"+name, r.Versions[name])
	}
	for _, p := range s.machineProperties() {
		add("machine/"+p.Name, p.Value)
	}
	for _, p := range s.Properties {
		ps = append(ps, junit.Property(p))
	}
	for _, t := range s.Steps {
		add("step/"+t.Name+" [s]", strconv.FormatFloat(t.Elapsed.Seconds(), 'f', 3, 64))
	}
	for _, c := range s.AllCells() {
		for _, f := range c.Verdict.Figures {
			add(c.Phase+"/"+c.Check+"/"+f.Name+" ["+f.Unit+"]",
				strconv.FormatFloat(f.Value, 'g', -1, 64)+" n="+strconv.FormatInt(f.N, 10))
		}
	}
	return ps
}

// names hands out each name once.
type names map[string]bool

// unique is name, or name with the first number that makes it new.
func (taken names) unique(name string) string {
	out := name
	for n := 2; taken[out]; n++ {
		out = fmt.Sprintf("%s (%d)", name, n)
	}
	taken[out] = true
	return out
}

func orElse(s, fallback string) string {
	if s != "" {
		return s
	}
	return fallback
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
