// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"fmt"
	"strings"
	"unicode"
)

// snippetWidth bounds how much of a long line a snippet shows.
const snippetWidth = 100

// source is the text of one file, for positions and snippets.
type source struct {
	name  string
	lines [][]rune
}

// newSource splits text where YAML does, which is at more than newlines: positions
// would drift otherwise.
func newSource(name, text string) *source {
	text = strings.TrimPrefix(text, "\uFEFF")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	s := &source{name: name}
	start := 0
	runes := []rune(text)
	for i, r := range runes {
		switch r {
		case '\n', '\r', '\u0085', '\u2028', '\u2029':
			s.lines = append(s.lines, runes[start:i])
			start = i + 1
		}
	}
	s.lines = append(s.lines, runes[start:])
	return s
}

// errorAt makes an error whose position is inside the file, whatever the parser said.
func (s *source) errorAt(line, column int, message, suggestion string) *Error {
	line = min(max(line, 1), len(s.lines))
	column = min(max(column, 1), len(s.lines[line-1])+1)
	return &Error{
		File: s.name, Line: line, Column: column,
		Message: message, Suggestion: suggestion, Snippet: s.snippet(line, column),
	}
}

// snippet shows the line with a caret below the column. Both must be in range.
func (s *source) snippet(line, column int) string {
	text := s.lines[line-1]
	from := 0
	if column > snippetWidth {
		from = column - snippetWidth/2
	}
	shown := make([]rune, 0, snippetWidth)
	for _, r := range text[from:min(len(text), from+snippetWidth)] {
		if !unicode.IsPrint(r) {
			r = ' ' // a tab would move the text away from its caret
		}
		shown = append(shown, r)
	}
	if strings.TrimSpace(string(shown)) == "" {
		return "" // of the part shown only: a line can be a megabyte and have an error every ten characters
	}
	number := fmt.Sprintf("%5d", line)
	return fmt.Sprintf("%s | %s\n%s | %s^",
		number, strings.TrimRight(string(shown), " "),
		strings.Repeat(" ", len(number)), strings.Repeat(" ", column-1-from))
}
