// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// section writes one part of the Markdown report. What matters most comes first, for
// a summary that has to be cut is cut from its end.
type section func(b *strings.Builder, m Matrix)

func sections() []section {
	return []section{mdHeadline, mdMatrix, mdReasons, mdFigures, mdFindings, mdTimings, mdMachine}
}

// WriteMarkdown writes matrix.md.
func WriteMarkdown(w io.Writer, m Matrix) error {
	var b strings.Builder
	for _, s := range sections() {
		s(&b, m)
	}
	if _, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n"); err != nil {
		return fmt.Errorf("write markdown: %w", err)
	}
	return nil
}

// summaryLimit keeps a step summary under GitHub's limit of 1 MiB a step, past which
// GitHub shows nothing at all; other parts of the step need room too.
const summaryLimit = 900 << 10

// GitHubSummary writes matrix.md as fits $GITHUB_STEP_SUMMARY.
func GitHubSummary(w io.Writer, m Matrix) error {
	const cut = "\n\n(The rest is cut: a summary has a limit. See " + MatrixFile + " in the run's folder.)\n"
	var b strings.Builder
	for _, s := range sections() {
		s(&b, m)
	}
	text := b.String()
	if len(text) > summaryLimit {
		// At a line's end: half a row would break the table.
		text = text[:strings.LastIndexByte(text[:summaryLimit-len(cut)], '\n')+1] + cut
	}
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("write github summary: %w", err)
	}
	return nil
}

// mdHeadline says how the run ended and what it was.
func mdHeadline(b *strings.Builder, m Matrix) {
	code := ExitCode(m, m.Run.Named)
	fmt.Fprintf(b, "# lbmatrix: %s\n\n", exitWord(code))
	fmt.Fprintf(b, "%s (exit code %d)\n\n", md(countText(m)), code)
	var t mdTable
	t.head = []string{"Run", "Started", "Took", "Arguments"}
	for _, r := range m.runs() {
		t.add(md(orElse(r.ID, "-")), timeText(r.Started), durationText(r.elapsed()), md(orElse(strings.Join(r.Args, " "), "-")))
	}
	t.write(b)
}

// mdMatrix is the matrix and its legend.
func mdMatrix(b *strings.Builder, m Matrix) {
	g := newGrid(m)
	t := mdTable{head: []string{"Check"}}
	blank := make([]string, len(g.columns))
	for _, c := range g.columns {
		t.head = append(t.head, md(c.label)+"<br>"+md(c.phase))
	}
	family := ""
	for _, r := range g.rows {
		if r.family != family {
			family = r.family
			t.add(append([]string{"**" + md(family) + "**"}, blank...)...)
		}
		cells := []string{md(r.check)}
		for _, word := range r.words {
			cells = append(cells, orElse(word, "-"))
		}
		t.add(cells...)
	}
	b.WriteString("## Matrix\n\n")
	t.write(b)
	for _, row := range usedRows(m) {
		fmt.Fprintf(b, "- %s: %s\n", row.Word, row.Legend)
	}
	b.WriteString("- \\-: not part of this phase\n")
	if legend := m.labelLegend(); legend != "" {
		fmt.Fprintf(b, "\nScenarios: %s.\n", legend)
	}
	b.WriteByte('\n')
}

// mdReasons says why, for every cell that did not simply pass.
func mdReasons(b *strings.Builder, m Matrix) {
	t := mdTable{head: []string{"Scenario", "Phase", "Check", "Result", "Code", "Why"}}
	for _, r := range groupReasons(m) {
		check := md(r.first.Check)
		if r.more > 0 {
			check += fmt.Sprintf(" and %d more", r.more)
		}
		t.add(md(r.label), md(phaseOf(r.first)), check, Word(r.first.Result), md(orElse(r.first.Verdict.Code, "-")), md(orElse(Explain(r.first), "-")))
	}
	if len(t.rows) > 0 {
		b.WriteString("## Not simply passed\n\n")
	}
	t.write(b)
}

// countText is how many cells have each result, as one sentence.
func countText(m Matrix) string {
	n := Count(m)
	var parts []string
	for _, row := range Table() {
		if k := n[row.Result]; k > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", k, row.Result))
		}
	}
	scenarios := "scenarios"
	if len(m.Suites) == 1 {
		scenarios = "scenario"
	}
	return fmt.Sprintf("%d %s: %s", len(m.Suites), scenarios, strings.Join(parts, ", "))
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// durationText is a duration for people: whole milliseconds under a second, tenths above.
func durationText(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
