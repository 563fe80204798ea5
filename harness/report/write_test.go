// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report_test

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

func TestVerdictsAreReadBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	require.NoError(t, report.Write(dir, sample()))
	back, err := report.ReadVerdicts(filepath.Join(dir, report.VerdictsFile))
	require.NoError(t, err)
	want := sample()
	for i := range want.Suites {
		if want.Suites[i].Cells == nil {
			want.Suites[i].Cells = []judge.Cell{}
		}
	}
	assert.Empty(t, cmp.Diff(want, back))

	require.NoError(t, report.WriteRun(dir, want.Run))
	run, err := report.ReadRun(dir)
	require.NoError(t, err)
	assert.Equal(t, want.Run, run)
}

// A folder that is written by two processes, or while it is read, holds whole files only.
func TestWriteReplacesWholeFiles(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, report.Write(dir, sample()))
	var writers, reader sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		writers.Go(func() {
			for range 10 {
				assert.NoError(t, report.Write(dir, sample()))
			}
		})
	}
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_, err := report.ReadVerdicts(filepath.Join(dir, report.VerdictsFile))
				assert.NoError(t, err)
			}
		}
	})
	writers.Wait()
	close(stop)
	reader.Wait()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	assert.Equal(t, []string{report.JUnitFile, report.MatrixFile, report.VerdictsFile}, names, "no temporary file is left")
}

func TestWriteFailsWithoutATrace(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, report.VerdictsFile, "in the way"), 0o755))
	err := report.Write(dir, sample())
	require.ErrorContains(t, err, "write report: replace ")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}

func TestReadVerdictsRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"schema version 2": `{"schemaVersion": 2}`,
		"schema version 0": `{}`,
		"unexpected end":   `{"schemaVersion": 1, "suites": [`,
		"invalid":          `{"schemaVersion": 1} {}`,
	} {
		path := filepath.Join(t.TempDir(), report.VerdictsFile)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		_, err := report.ReadVerdicts(path)
		assert.ErrorContains(t, err, name)
	}
	_, err := report.ReadVerdicts(filepath.Join(t.TempDir(), "none"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestFiguresThatAreNoNumbersLeaveAFinding(t *testing.T) {
	s := suiteOf("s", judge.ResultPassed)
	s.Cells[0].Verdict.Figures = []judge.Figure{{Name: "ratio", Value: math.NaN()}, {Name: "p50", Value: 1}, {Name: "max", Value: math.Inf(1)}}
	m := matrixOf(s)
	var b bytes.Buffer
	require.NoError(t, report.WriteVerdicts(&b, m))
	assert.Contains(t, b.String(), "figure ratio is not a number (NaN)")
	assert.Contains(t, b.String(), "figure max is not a number (+Inf)")
	assert.Contains(t, b.String(), `"name": "p50"`)
	assert.Len(t, m.Suites[0].Cells[0].Verdict.Figures, 3, "the input is left alone")
}
