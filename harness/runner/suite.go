// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

// Suite judges the journal in a scenario's folder: the same function serves the run
// itself, `lbmatrix judge` and `lbmatrix report`.
func Suite(dir string) (report.Suite, error) {
	j, err := journal.ReadFile(filepath.Join(dir, journal.FileName))
	if err != nil {
		return report.Suite{}, err
	}
	cells, err := judge.Journal(j)
	if err != nil {
		return report.Suite{}, err
	}
	first, last := j.Records[0], j.Records[len(j.Records)-1]
	s := report.Suite{
		Scenario: j.Header.Scenario, Where: j.Header.Where, Machine: j.Header.Machine,
		Started: first.Time, Elapsed: time.Duration(last.Mono), Cells: cells,
	}
	for _, k := range slices.Sorted(mapsKeys(j.Header.Versions)) {
		name := "version " + k
		if k == propertySource || strings.HasPrefix(k, ownMark) {
			name = k // says where from, not which
		}
		s.Properties = append(s.Properties, report.Property{Name: name, Value: j.Header.Versions[k]})
	}
	if p := j.Header.Provider; p != "" {
		s.Properties = append(s.Properties, report.Property{Name: "provider", Value: p})
	}
	s.Properties = append(s.Properties, report.Property{Name: "scenario digest", Value: j.Header.ScenarioDigest})
	for _, st := range j.Steps() {
		s.Steps = append(s.Steps, report.Timing{Name: st.Name, Elapsed: time.Duration(st.ElapsedMS) * time.Millisecond})
	}
	if u := j.Unsupported(); u != nil {
		s.Unsupported = true
	} else if f := j.Failure(); f != nil {
		s.NotRun = fmt.Sprintf("step %s failed: %s", f.Name, f.Error)
	} else if j.Lost > 0 {
		s.NotRun = fmt.Sprintf("%d records of the journal are lost", j.Lost)
	} else if !j.Ended {
		s.NotRun = "the run was cut off before its end"
	}
	return s, nil
}

// Load reads a run's folder, or a single scenario's, and judges every journal in it.
// Scenarios that the run was asked for and that left none are told of.
func Load(dir string) (report.Matrix, error) {
	var m report.Matrix
	if r, err := report.ReadRun(dir); err == nil {
		m.Run = r
	} else if !errors.Is(err, os.ErrNotExist) {
		return m, err
	}
	folders, single := []string{dir}, true
	if _, err := os.Stat(filepath.Join(dir, journal.FileName)); err != nil {
		single = false
		found, err := filepath.Glob(filepath.Join(dir, "*", journal.FileName))
		if err != nil {
			return m, fmt.Errorf("read run %s: %w", dir, err)
		}
		folders = nil
		for _, f := range found {
			// Attempts that a resumed run set aside are for people.
			if dir := filepath.Dir(f); !strings.Contains(filepath.Base(dir), attemptMark) {
				folders = append(folders, dir)
			}
		}
	}
	if len(folders) == 0 && len(m.Run.Scenarios) == 0 {
		return m, fmt.Errorf("read run %s: there is no journal in it; give a run's folder, for example results/latest", dir)
	}
	for _, f := range folders {
		s, err := Suite(f)
		if err != nil {
			s = report.Suite{Scenario: filepath.Base(f), NotRun: err.Error()}
		}
		m.Suites = append(m.Suites, s)
	}
	if !single {
		m.Suites = append(m.Suites, missing(m)...)
	}
	return m, nil
}

// missing are the scenarios that the run was asked for and that left no journal: a
// killed run must not pass for a smaller one.
func missing(m report.Matrix) []report.Suite {
	var out []report.Suite
	for _, name := range m.Run.Scenarios {
		if !slices.ContainsFunc(m.Suites, func(s report.Suite) bool { return s.Scenario == name }) {
			out = append(out, report.Suite{Scenario: name, Where: journal.WhereHost, NotRun: "the run was asked for this scenario and left no journal of it"})
		}
	}
	return out
}
