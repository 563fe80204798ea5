// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestGolden(t *testing.T) {
	shard := matrixOf(suiteOf("kube-proxy-iptables-metallb-l2", judge.ResultFailed))
	shard.Run = report.Run{ID: "shard-2", Started: at(30), Ended: at(50), Machine: report.Machine{Host: "ci-2", CPUs: 4}}
	shard.Suites[0].Started = at(31)
	matrices := map[string]report.Matrix{
		"sample": sample(),
		"merged": report.Merge([]report.Matrix{sample(), shard}),
		"empty":  {},
	}
	writers := map[string]func(io.Writer, report.Matrix) error{
		"verdicts.json": report.WriteVerdicts, "junit.xml": report.WriteJUnit,
		"matrix.md": report.WriteMarkdown, "matrix.txt": report.WriteText,
	}
	for name, m := range matrices {
		for file, write := range writers {
			t.Run(name+"/"+file, func(t *testing.T) {
				var b bytes.Buffer
				require.NoError(t, write(&b, m))
				path := filepath.Join("testdata", name, file)
				if *update {
					require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
					require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
				}
				golden, err := os.ReadFile(path)
				require.NoError(t, err, "run the test with -update")
				assert.Equal(t, string(golden), b.String(), "run the test with -update, and read the difference")
			})
		}
	}
}

// What was left out by choice would be columns of one word; why is said once below them.
func TestPhasesLeftOutHaveNoColumn(t *testing.T) {
	m := matrixOf(suiteOf("kube-proxy-iptables-metallb-l2", judge.ResultPassed))
	skipped := func(phase, check, code, message string) judge.Cell {
		return judge.Cell{
			Phase: phase, Check: check, Result: judge.ResultSkipped,
			Verdict: judge.Verdict{Outcome: judge.Skipped, Code: code, Message: message},
		}
	}
	m.Suites[0].Cells = append(m.Suites[0].Cells,
		skipped("mutation/udp-dropped", "udp-echo", judge.CodeLeftOut, "udp-dropped was not asked for"),
		skipped("restored/udp-dropped", "udp-echo", judge.CodeLeftOut, "udp-dropped was not asked for"),
		skipped("mutation/proxy-arp", "single-responder", judge.CodeLeftOut, "proxy-arp was not asked for"),
		skipped("mutation/ip-forward-off", "forwarding-enabled", "not-run", "the fault was not applied"))
	for _, write := range []func(io.Writer, report.Matrix) error{report.WriteText, report.WriteMarkdown} {
		var b bytes.Buffer
		require.NoError(t, write(&b, m))
		require.Equal(t, 1, strings.Count(b.String(), "mutation/udp-dropped"), b.String())
		require.Contains(t, b.String(), "udp-dropped was not asked for")
		require.Contains(t, b.String(), "proxy-arp was not asked for", "each is named")
		require.Equal(t, 2, strings.Count(b.String(), "mutation/ip-forward-off"), "what was asked for and did not run has its column")
	}
}

// A table row with a column too many or too few is not a row to GitHub.
func TestMarkdownTablesAreWhole(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, report.WriteMarkdown(&b, sample()))
	columns := 0
	for i, line := range strings.Split(b.String(), "\n") {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if columns != 0 {
			assert.Equal(t, columns, n, "line %d: %s", i+1, line)
		}
		columns = n
	}
}

func TestTerminalPrintsOnlyText(t *testing.T) {
	s := suiteOf("a\x1b[31mred\u009b2J", judge.ResultFailed)
	s.Cells[0].Check = "c\r\nd\u202e"
	s.Cells[0].Verdict.Message = "bell\a\x00 \xff"
	var b bytes.Buffer
	require.NoError(t, report.WriteText(&b, matrixOf(s)))
	for _, bad := range []string{"\x1b", "\u009b", "\r", "\a", "\x00", "\xff", "\u202e"} {
		assert.NotContains(t, b.String(), bad)
	}
}

func TestManyColumnsFitTheTerminal(t *testing.T) {
	var suites []report.Suite
	for range 20 {
		suites = append(suites, suiteOf("s", judge.ResultBroken, judge.ResultPassed))
	}
	var b bytes.Buffer
	require.NoError(t, report.WriteText(&b, matrixOf(suites...)))
	assert.Contains(t, b.String(), "[20]")
	for _, line := range strings.Split(b.String(), "\n") {
		assert.LessOrEqual(t, len(line), 100, line)
	}
}

func TestGitHubSummaryStaysUnderTheLimit(t *testing.T) {
	s := suiteOf("s", judge.ResultFailed)
	for i := range 300 {
		c := s.Cells[0]
		c.Verdict.Message = fmt.Sprint(strings.Repeat("long ", 1000), i)
		s.Cells = append(s.Cells, c)
	}
	var b bytes.Buffer
	require.NoError(t, report.GitHubSummary(&b, matrixOf(s)))
	assert.Less(t, b.Len(), 1<<20)
	assert.Contains(t, b.String(), "# lbmatrix: FAILED")
	assert.Contains(t, b.String(), "The rest is cut")

	var small, md bytes.Buffer
	require.NoError(t, report.GitHubSummary(&small, sample()))
	require.NoError(t, report.WriteMarkdown(&md, sample()))
	assert.Equal(t, strings.TrimSpace(md.String()), strings.TrimSpace(small.String()))
}
