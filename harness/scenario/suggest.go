// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Suggest says what may have been meant by a name that is none of the known ones:
// did you mean the closest, when one is close, or else the list of all.
func Suggest(name string, known []string) string {
	if len(known) == 0 {
		return "none is known"
	}
	if best, ok := closest(name, known); ok {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "allowed: " + strings.Join(known, ", ")
}

// closest finds the known name that differs by the fewest edits, when those are
// few for its length. Case alone is no difference.
func closest(name string, known []string) (string, bool) {
	if len(name) > 80 {
		return "", false
	}
	best, fewest := "", -1
	for _, k := range known {
		n := distance(strings.ToLower(name), strings.ToLower(k))
		if n <= max(1, min(3, len(k)/3)) && (fewest < 0 || n < fewest) {
			best, fewest = k, n
		}
	}
	return best, fewest >= 0
}

// distance is the number of insertions, deletions, replacements and swaps of
// neighbours that make b of a.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	var before, last []int
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(x); i++ {
		before, last, row = last, row, make([]int, len(y)+1)
		row[0] = i
		for j := 1; j <= len(y); j++ {
			replace := last[j-1]
			if x[i-1] != y[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(y)]
}

// clip bounds text that comes from the file before it goes into a message.
func clip(text string) string {
	runes := []rune(text)
	if len(runes) > 60 {
		runes = append(runes[:57:57], []rune("...")...)
	}
	return string(slices.DeleteFunc(runes, func(r rune) bool { return !unicode.IsPrint(r) }))
}
