// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/report/junit"
)

// want is design.md's table, written a second time on purpose: the test would follow
// the code if it read the code's own.
func want() map[judge.Result]struct {
	junit, goTest string
	exit, named   int
	text          string
} {
	type row = struct {
		junit, goTest string
		exit, named   int
		text          string
	}
	return map[judge.Result]row{
		judge.ResultPassed:      {"pass", "ok", 0, 0, "what was seen"},
		judge.ResultFailed:      {"failure", "fail", 1, 1, "some-code: what was seen"},
		judge.ResultBroken:      {"error", "error", 3, 3, "some-code: what was seen"},
		judge.ResultUnsupported: {"skipped", "skip", 0, 4, "some-code: what was seen"},
		judge.ResultSkipped:     {"skipped", "skip", 0, 4, "some-code: what was seen"},
		judge.ResultCaught:      {"pass", "ok", 0, 0, "caught: some-code: what was seen"},
		judge.ResultMissed:      {"failure", "fail", 1, 1, "missed: expected another-code, got some-code: what was seen"},
		judge.ResultConsequence: {"pass", "ok", 0, 0, "consequence: some-code: what was seen"},
	}
}

func TestTableNamesEveryResultOnce(t *testing.T) {
	var got []judge.Result
	words := map[string]bool{}
	for _, r := range report.Table() {
		got = append(got, r.Result)
		assert.NotEmpty(t, r.Legend)
		words[r.Word] = true
	}
	assert.Equal(t, allResults(), got)
	assert.Len(t, words, len(got), "two results with one word could not be told apart")
}

func TestEveryWriterFollowsTheTable(t *testing.T) {
	for result, w := range want() {
		t.Run(string(result), func(t *testing.T) {
			assert.Equal(t, w.junit, report.JUnit(result))
			assert.Equal(t, w.goTest, report.GoTest(result))
			cell := cellWith(result, "check-a")
			require.Equal(t, result, cell.Result)
			assert.Equal(t, w.text, report.Explain(cell))

			alone := matrixOf(report.Suite{Scenario: "s", Cells: []judge.Cell{cell}})
			assert.Equal(t, w.named, report.ExitCode(alone, true), "named on the command line")
			assert.Equal(t, w.named, report.ExitCode(alone, false), "everything was not run")
			beside := matrixOf(alone.Suites[0], suiteOf("green", judge.ResultPassed))
			assert.Equal(t, w.exit, report.ExitCode(beside, false), "beside a green scenario")
			assert.Equal(t, w.named, report.ExitCode(beside, true), "beside a green scenario, named")

			var x bytes.Buffer
			require.NoError(t, report.WriteJUnit(&x, alone))
			doc, err := junit.Read(&x)
			require.NoError(t, err)
			c := doc.Suites[0].Cases[0]
			assert.Equal(t, w.junit, string(c.Status))
			if c.Status == junit.Passed {
				assert.Contains(t, c.Out, w.text)
			} else {
				assert.Equal(t, w.text, c.Message)
				assert.Equal(t, "some-code", c.Type)
				assert.Contains(t, c.Text, w.text)
			}

			word := report.Word(result)
			var md, text bytes.Buffer
			require.NoError(t, report.WriteMarkdown(&md, alone))
			assert.Contains(t, md.String(), "| check-a | "+word+" |\n")
			assert.Contains(t, md.String(), "- "+word+": ")
			require.NoError(t, report.WriteText(&text, alone))
			assert.Regexp(t, regexp.MustCompile(`(?m)^  check-a +`+regexp.QuoteMeta(word)+`$`), text.String())
			if result != judge.ResultPassed {
				assert.Contains(t, md.String(), "| some-code | "+w.text+" |")
				assert.Contains(t, text.String(), w.text)
			}
		})
	}
}

func TestUnknownResultIsBroken(t *testing.T) {
	c := cellWith(judge.ResultPassed, "check-a")
	for _, r := range []judge.Result{"", "green", "Passed"} {
		c.Result = r
		m := matrixOf(report.Suite{Scenario: "s", Cells: []judge.Cell{c}})
		assert.Equal(t, report.ExitBroken, report.ExitCode(m, false))
		assert.Equal(t, report.GoTestError, report.GoTest(r))
		assert.Equal(t, junit.Error, report.JUnitDocument(m).Suites[0].Cases[0].Status)
		var md bytes.Buffer
		require.NoError(t, report.WriteMarkdown(&md, m))
		assert.True(t, strings.HasPrefix(md.String(), "# lbmatrix: BROKEN\n"))
	}
}

func TestMissedBecauseItPassed(t *testing.T) {
	v := judge.Verdict{Outcome: judge.Passed, Code: "responders=1", Message: "one MAC answered"}
	c := judge.Cell{Check: "c", Expected: "responders=0", Verdict: v, Result: judge.Combine(v, "responders=0", false)}
	assert.Equal(t, "missed: expected responders=0, but the check passed: one MAC answered", report.Explain(c))
}

func TestOneReasonForAWholeScenarioIsSaidOnce(t *testing.T) {
	cell := func(check, text string, result judge.Result) judge.Cell {
		return judge.Cell{Check: check, Result: result, Verdict: judge.Verdict{Code: "kernel", Message: text}}
	}
	m := report.Matrix{Suites: []report.Suite{
		{Scenario: "a", Cells: []judge.Cell{
			cell("one", "no CONFIG_X", judge.ResultUnsupported),
			cell("two", "no CONFIG_X", judge.ResultUnsupported),
			cell("three", "no CONFIG_Y", judge.ResultUnsupported),
			cell("four", "no CONFIG_Y", judge.ResultFailed),
		}},
		{Scenario: "b", Cells: []judge.Cell{cell("one", "no CONFIG_Y", judge.ResultFailed)}},
	}}
	var text strings.Builder
	require.NoError(t, report.WriteText(&text, m))
	require.Contains(t, text.String(), "a baseline one and 1 more\n")
	require.Contains(t, text.String(), "a baseline three\n")
	require.Contains(t, text.String(), "a baseline four\n")
	require.Contains(t, text.String(), "b baseline one\n")
}
