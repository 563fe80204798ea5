// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"github.com/lbmatrix/lbmatrix/harness/judge"
)

// SchemaVersion is the format of verdicts.json; a reader refuses others. New optional
// fields do not change it.
const SchemaVersion = 1

// verdictsFile is verdicts.json.
type verdictsFile struct {
	SchemaVersion int `json:"schemaVersion"`
	Matrix
}

// WriteVerdicts writes the whole matrix as indented JSON.
func WriteVerdicts(w io.Writer, m Matrix) error {
	m = finite(m)
	if m.Suites == nil {
		m.Suites = []Suite{} // a list for every reader, never null
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(verdictsFile{SchemaVersion: SchemaVersion, Matrix: m}); err != nil {
		return fmt.Errorf("write verdicts: %w", err)
	}
	return nil
}

// ReadVerdicts reads a verdicts.json.
func ReadVerdicts(path string) (Matrix, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Matrix{}, fmt.Errorf("read verdicts: %w", err)
	}
	var f verdictsFile
	if err := json.Unmarshal(data, &f); err != nil {
		return Matrix{}, fmt.Errorf("read verdicts %s: %w", path, err)
	}
	if f.SchemaVersion != SchemaVersion {
		return Matrix{}, fmt.Errorf("read verdicts %s: schema version %d, this lbmatrix reads %d", path, f.SchemaVersion, SchemaVersion)
	}
	return f.Matrix, nil
}

// finite is the matrix without figures that JSON cannot hold (a ratio over zero is no
// number). Each leaves a finding, so that it is not lost in silence.
func finite(m Matrix) Matrix {
	m.Suites = slices.Clone(m.Suites)
	for i := range m.Suites {
		s := &m.Suites[i]
		s.Cells = slices.Clone(s.Cells)
		if s.Cells == nil {
			s.Cells = []judge.Cell{}
		}
		for j := range s.Cells {
			s.Cells[j].Verdict = finiteVerdict(s.Cells[j].Verdict)
		}
	}
	return m
}

// finiteVerdict is finite for one verdict.
func finiteVerdict(v judge.Verdict) judge.Verdict {
	odd := func(f judge.Figure) bool { return math.IsNaN(f.Value) || math.IsInf(f.Value, 0) }
	if !slices.ContainsFunc(v.Figures, odd) {
		return v
	}
	v.Findings = slices.Clone(v.Findings)
	for _, f := range v.Figures {
		if odd(f) {
			v.Findings = append(v.Findings, judge.Finding{
				Component: "lbmatrix", Message: fmt.Sprintf("figure %s is not a number (%v)", f.Name, f.Value),
			})
		}
	}
	v.Figures = slices.DeleteFunc(slices.Clone(v.Figures), odd)
	return v
}
