// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report

import (
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/report/junit"
)

// mdEscaper takes the meaning from what Markdown or HTML would act on: text from
// a cluster is shown, never rendered.
func mdEscaper() *strings.Replacer {
	return strings.NewReplacer(
		"&", "&amp;", "<", "&lt;", ">", "&gt;", "\n", " ", "\t", " ",
		"\\", "\\\\", "|", "\\|", "`", "\\`", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "~", "\\~", "$", "\\$")
}

// md is a string as one line of Markdown text.
func md(s string) string { return mdEscaper().Replace(junit.Clean(s)) }

// mdTable collects one Markdown table. Cells are Markdown already.
type mdTable struct {
	head  []string
	align []string // "l" or "r" for each column
	rows  [][]string
}

func (t *mdTable) add(cells ...string) { t.rows = append(t.rows, cells) }

// write writes the table, or nothing when it has no rows.
func (t *mdTable) write(b *strings.Builder) {
	if len(t.rows) == 0 {
		return
	}
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(t.head)
	rule := make([]string, len(t.head))
	for i := range rule {
		rule[i] = "---"
		if i < len(t.align) && t.align[i] == "r" {
			rule[i] = "---:"
		}
	}
	line(rule)
	for _, r := range t.rows {
		line(r)
	}
	b.WriteByte('\n')
}
