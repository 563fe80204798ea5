// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/report/junit"
)

func TestMergeKeepsEveryAttempt(t *testing.T) {
	second, first, guest := suiteOf("s", judge.ResultPassed), suiteOf("s", judge.ResultFailed), suiteOf("s", judge.ResultPassed)
	second.Started, first.Started, guest.Where = at(9), at(1), "guest"
	a, b := matrixOf(second), matrixOf(first, guest, suiteOf("t", judge.ResultPassed))
	a.Run = report.Run{ID: "a", Started: at(8), Ended: at(20), Args: []string{"run"}, Versions: map[string]string{"kernel": "6.1", "metallb": "v1"}, Machine: report.Machine{Host: "x"}}
	b.Run = report.Run{ID: "b", Started: at(0), Ended: at(10), Args: []string{"run"}, Versions: map[string]string{"kernel": "6.12", "metallb": "v1"}, Machine: report.Machine{Host: "y"}, Named: true}

	m := report.Merge([]report.Matrix{a, b})
	var labels []string
	for _, s := range m.Suites {
		labels = append(labels, s.Label()+" from "+s.Run)
	}
	assert.Equal(t, []string{"s#2 from a", "s from b", "s@guest from b", "t from b"}, labels)
	assert.Equal(t, report.ExitFailed, m.Run.Exit, "a later pass does not undo a failure")
	assert.Equal(t, "a+b", m.Run.ID)
	assert.Equal(t, at(0), m.Run.Started)
	assert.Equal(t, at(20), m.Run.Ended)
	assert.Equal(t, []string{"run"}, m.Run.Args)
	assert.True(t, m.Run.Named)
	assert.Equal(t, map[string]string{"kernel": "6.1, 6.12", "metallb": "v1"}, m.Run.Versions)
	assert.Zero(t, m.Run.Machine, "they ran on different ones")
	doc := report.JUnitDocument(m)
	assert.Equal(t, "x", doc.Suites[0].Hostname)
	assert.Equal(t, "y", doc.Suites[1].Hostname)
	assert.Contains(t, doc.Suites[0].Properties, junit.Property{Name: "version/kernel", Value: "6.1"}, "its own, not the other's")
	assert.Contains(t, doc.Suites[0].Properties, junit.Property{Name: "attempt", Value: "2"})
	assert.Equal(t, 0, a.Suites[0].Attempt, "the input is left alone")

	c := matrixOf(suiteOf("u", judge.ResultBroken))
	c.Run.ID = "c"
	nested := report.Merge([]report.Matrix{m, c})
	flat := report.Merge([]report.Matrix{a, b, c})
	assert.Equal(t, flat, nested, "merging a merged one is merging its parts")
	assert.Equal(t, report.ExitBroken, nested.Run.Exit)
}

func TestMergeOfOneIsThatOne(t *testing.T) {
	m := report.Merge([]report.Matrix{sample()})
	assert.Equal(t, sample().Run, m.Run)
	assert.Equal(t, report.Count(sample()), report.Count(m))
}

func TestMergeOfNothingIsBroken(t *testing.T) {
	assert.Equal(t, report.ExitBroken, report.ExitCode(report.Merge(nil), false))
}
