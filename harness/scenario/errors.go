// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing wrong with a scenario or with a values file it names.
// Line and Column count from 1, Column in characters.
type Error struct {
	File       string
	Line       int
	Column     int
	Message    string
	Suggestion string // what to write instead; may be empty
	Snippet    string // the source line and a caret below the place; may be empty
}

// Error gives file:line:column: message, on one line.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	if e.Suggestion != "" {
		text += "; " + e.Suggestion
	}
	return text
}

// Errors is everything wrong with a scenario, by position: the scenario file
// first, then its values files. Load never returns it empty.
type Errors []*Error

// told is how many errors are printed: whoever mends so many runs it again anyway, and a
// file that is no scenario at all has one on every line.
const told = 25

// Error gives every error on a line of its own, each followed by its snippet; of very
// many the first, and how many more there are.
func (e Errors) Error() string {
	var text strings.Builder
	for i, one := range e {
		if i > 0 {
			text.WriteByte('\n')
		}
		if i == told {
			fmt.Fprintf(&text, "and %d mistakes more", len(e)-told)
			break
		}
		text.WriteString(one.Error())
		if one.Snippet != "" {
			text.WriteByte('\n')
			text.WriteString(one.Snippet)
		}
	}
	return text.String()
}

// Unwrap lets errors.As find a single *Error.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// sortFrom orders the errors by position, those of the file named first ahead.
func (e Errors) sortFrom(first string) {
	rank := func(x *Error) int {
		if x.File == first {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Message, b.Message),
		)
	})
}
