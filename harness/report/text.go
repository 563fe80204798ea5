// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lbmatrix/lbmatrix/harness/judge"
)

// textColumns is how many columns fit beside the checks on a terminal 100 wide.
const textColumns = 8

// WriteText writes the matrix for a terminal: aligned, without colours, its columns
// numbered because names of scenarios are longer than what is in the columns.
func WriteText(w io.Writer, m Matrix) error {
	var b strings.Builder
	g := newGrid(m)
	for i, c := range g.columns {
		fmt.Fprintf(&b, "%5s %s  %s\n", columnMark(i), plain(c.label), plain(c.phase))
	}
	for from := 0; from < len(g.columns); from += textColumns {
		textBlock(&b, g, from, min(from+textColumns, len(g.columns)))
	}
	b.WriteByte('\n')
	for _, r := range usedRows(m) {
		fmt.Fprintf(&b, "%-8s %s\n", r.Word, r.Legend)
	}
	if legend := m.labelLegend(); legend != "" {
		fmt.Fprintf(&b, "Scenarios: %s.\n", legend)
	}
	textReasons(&b, m)
	textFigures(&b, m)
	code := ExitCode(m, m.Run.Named)
	fmt.Fprintf(&b, "\n%s: %s", exitWord(code), countText(m))
	if d := m.Run.elapsed(); d > 0 {
		fmt.Fprintf(&b, ", in %s", durationText(d))
	}
	fmt.Fprintf(&b, " (exit code %d)\n", code)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write matrix: %w", err)
	}
	return nil
}

// textBlock writes the rows for some of the columns.
func textBlock(b *strings.Builder, g grid, from, to int) {
	var lines [][]string
	head := []string{""}
	for i := from; i < to; i++ {
		head = append(head, columnMark(i))
	}
	lines = append(lines, head)
	family := ""
	for _, r := range g.rows {
		words := r.words[from:to]
		if strings.Join(words, "") == "" {
			continue
		}
		if r.family != family {
			family = r.family
			lines = append(lines, []string{family})
		}
		line := []string{"  " + plain(r.check)}
		for _, word := range words {
			line = append(line, orElse(word, "-"))
		}
		lines = append(lines, line)
	}
	b.WriteByte('\n')
	writeAligned(b, lines)
}

// textReasons says why, for every cell that did not simply pass. What a whole scenario
// has for the same reason, as when it is unsupported, is said once.
func textReasons(b *strings.Builder, m Matrix) {
	for i, r := range groupReasons(m) {
		if i == 0 {
			b.WriteByte('\n')
		}
		where := plain(phaseOf(r.first)) + " " + plain(r.first.Check)
		if r.more > 0 {
			where += fmt.Sprintf(" and %d more", r.more)
		}
		fmt.Fprintf(b, "%-7s %s %s\n        %s\n", Word(r.first.Result), plain(r.label), where, plain(orElse(Explain(r.first), "no reason was given")))
	}
}

// reason is one explanation and the cells of a scenario in a row that share it.
type reason struct {
	label string
	first judge.Cell
	more  int
}

func groupReasons(m Matrix) []reason {
	var out []reason
	eachCell(m, func(_ int, s Suite, c judge.Cell) {
		if c.Result == judge.ResultPassed {
			return
		}
		if n := len(out); n > 0 {
			last := &out[n-1]
			if last.label == s.Label() && last.first.Result == c.Result && last.first.Verdict.Code == c.Verdict.Code && Explain(last.first) == Explain(c) {
				last.more++
				return
			}
		}
		out = append(out, reason{label: s.Label(), first: c})
	})
	return out
}

// textFigures lists distributions; the rest is in matrix.md.
func textFigures(b *strings.Builder, m Matrix) {
	head := append([]string{"figures"}, append(percentiles(), "unit", "n")...)
	lines := [][]string{head}
	eachCell(m, func(_ int, s Suite, c judge.Cell) {
		ds, _ := splitFigures(c)
		for _, d := range ds {
			line := []string{"  " + plain(strings.TrimSpace(s.Label()+" "+phaseOf(c)+" "+d.check+" "+d.series))}
			for _, p := range percentiles() {
				cell := "-"
				if v, ok := d.values[p]; ok {
					cell = number(v)
				}
				line = append(line, cell)
			}
			lines = append(lines, append(line, plain(d.unit), fmt.Sprint(d.n)))
		}
	})
	if len(lines) > 1 {
		b.WriteByte('\n')
		writeAligned(b, lines)
	}
}

// writeAligned writes lines of cells so that columns stand under each other.
func writeAligned(b *strings.Builder, lines [][]string) {
	var widths []int
	for _, line := range lines {
		for i, cell := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range lines {
		for i, cell := range line {
			b.WriteString(cell)
			if i < len(line)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		b.WriteByte('\n')
	}
}

func columnMark(i int) string { return fmt.Sprintf("[%d]", i+1) }

// plain is a string on one line that a terminal only prints: text from a cluster must
// not move the cursor.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return utf8.RuneError
	}, s)
}
