// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/report/junit"
)

// anyString draws strings that a broken component could put into a message.
func anyString() *rapid.Generator[string] {
	nasty := rapid.SampledFrom([]string{
		"", "]]>", "<![CDATA[", "&amp;", "<a b='c'>", "\x00", "\x1b[31m", "\r\n", "\r", "\t", "\xff\xfe", "\xed\xa0\x80",
		"\ufffe", "\uffff", "\u0085", "\U0001F600", "| a |", "`", "a", "a.b", "a/b",
	})
	bytes := rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 12), func(b []byte) string { return string(b) })
	return rapid.Custom(func(t *rapid.T) string {
		s := ""
		for range rapid.IntRange(0, 3).Draw(t, "parts") {
			s += rapid.OneOf(nasty, bytes, rapid.StringN(0, 6, -1)).Draw(t, "part")
		}
		return s
	})
}

func anyMatrix() *rapid.Generator[report.Matrix] {
	return rapid.Custom(func(t *rapid.T) report.Matrix {
		text := anyString()
		results := rapid.SampledFrom(append(allResults(), "", "unheard-of"))
		cell := rapid.Custom(func(t *rapid.T) judge.Cell {
			return judge.Cell{
				Phase: text.Draw(t, "phase"), Check: text.Draw(t, "check"), Title: text.Draw(t, "title"), Expected: text.Draw(t, "expected"),
				Result: results.Draw(t, "result"), Where: text.Draw(t, "where"), ElapsedMS: rapid.Int64().Draw(t, "ms"),
				Verdict: judge.Verdict{
					Code: text.Draw(t, "code"), Message: text.Draw(t, "message"),
					Figures:  []judge.Figure{{Name: text.Draw(t, "figure"), Value: rapid.Float64().Draw(t, "value"), Unit: text.Draw(t, "unit"), N: rapid.Int64().Draw(t, "n")}},
					Findings: []judge.Finding{{Component: text.Draw(t, "component"), Message: text.Draw(t, "finding")}},
				},
			}
		})
		suite := rapid.Custom(func(t *rapid.T) report.Suite {
			return report.Suite{
				Scenario: text.Draw(t, "scenario"), Title: text.Draw(t, "title"), Where: text.Draw(t, "where"),
				Attempt: rapid.IntRange(0, 3).Draw(t, "attempt"), Cells: rapid.SliceOfN(cell, 0, 4).Draw(t, "cells"),
				NotRun: text.Draw(t, "not run"), Unsupported: rapid.Bool().Draw(t, "unsupported"), Skipped: rapid.Bool().Draw(t, "skipped"),
				Properties: []report.Property{{Name: text.Draw(t, "name"), Value: text.Draw(t, "value")}},
				Steps:      []report.Timing{{Name: text.Draw(t, "step"), Elapsed: 1}},
			}
		})
		return report.Matrix{
			Run: report.Run{
				ID: text.Draw(t, "id"), Args: []string{text.Draw(t, "arg")}, Interrupted: rapid.Bool().Draw(t, "interrupted"),
				Versions: map[string]string{text.Draw(t, "component"): text.Draw(t, "version")}, Machine: report.Machine{Host: text.Draw(t, "host")},
			},
			Suites: rapid.SliceOfN(suite, 0, 4).Draw(t, "suites"),
		}
	})
}

func TestAnyMatrixIsReadBackFromJUnit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMatrix().Draw(t, "matrix")
		var b bytes.Buffer
		require.NoError(t, report.WriteJUnit(&b, m))
		checkStructure(t, b.Bytes())
		doc, err := junit.Read(bytes.NewReader(b.Bytes()))
		require.NoError(t, err, b.String())

		var tests junit.Totals
		for result, n := range report.Count(m) {
			tests.Tests += n
			switch report.JUnit(result) {
			case report.JUnitFailure:
				tests.Failures += n
			case report.JUnitError:
				tests.Errors += n
			case report.JUnitSkipped:
				tests.Skipped += n
			}
		}
		require.Equal(t, tests, doc.Totals())
		require.Len(t, doc.Suites, len(m.AllSuites()))
		for i, s := range m.AllSuites() {
			require.Len(t, doc.Suites[i].Cases, len(s.AllCells()))
		}

		var again bytes.Buffer
		require.NoError(t, junit.Write(&again, doc))
		require.Equal(t, b.String(), again.String(), "what was read is what was written")
	})
}

func TestAnyMatrixIsWrittenEverywhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), report.VerdictsFile)
	rapid.Check(t, func(t *rapid.T) {
		m := anyMatrix().Draw(t, "matrix")
		for _, write := range []func(io.Writer, report.Matrix) error{report.WriteMarkdown, report.WriteText, report.GitHubSummary} {
			var b bytes.Buffer
			require.NoError(t, write(&b, m))
			require.True(t, utf8.Valid(b.Bytes()))
		}
		var b bytes.Buffer
		require.NoError(t, report.WriteVerdicts(&b, m))
		require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644)) // without the fsync of Write, which is slow
		back, err := report.ReadVerdicts(path)
		require.NoError(t, err)
		require.Equal(t, report.Count(m), report.Count(back))
		require.Equal(t, report.ExitCode(m, false), report.ExitCode(back, false))
	})
}

func TestJUnitKeepsNamesApart(t *testing.T) {
	c := cellWith(judge.ResultPassed, "check")
	phase := c
	phase.Phase = "b"
	m := matrixOf(
		report.Suite{Scenario: "a", Cells: []judge.Cell{c, c, phase}},
		report.Suite{Scenario: "a.b", Cells: []judge.Cell{c}},
		report.Suite{Scenario: "a", Where: "guest", Attempt: 2, Cells: []judge.Cell{c}},
		report.Suite{Scenario: "a", Cells: []judge.Cell{c}},
	)
	var names []string
	for _, s := range report.JUnitDocument(m).Suites {
		names = append(names, s.Name)
		for _, c := range s.Cases {
			names = append(names, "  "+c.Class+" "+c.Name)
		}
	}
	assert.Equal(t, []string{
		"a", "  a check", "  a check (2)", "  a.b check",
		"a.b", "  a.b check (2)",
		"a@guest#2", "  a@guest#2 check",
		"a (2)", "  a check (3)",
	}, names)
}

func TestFiguresAreSuiteProperties(t *testing.T) {
	ps := report.JUnitDocument(sample()).Suites[0].Properties
	assert.Contains(t, ps, junit.Property{Name: "baseline/connect-latency/vip/p50 [ms]", Value: "0.4123456 n=2000"})
	assert.Contains(t, ps, junit.Property{Name: "version/metallb", Value: "v0.16.1"})
	assert.Contains(t, ps, junit.Property{Name: "node image", Value: "lbmatrix/node:v1.37.2"})
}
