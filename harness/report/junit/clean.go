// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package junit

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Clean makes any string one that XML can hold: invalid UTF-8 becomes U+FFFD, a
// character that XML forbids becomes its Go escape (an escape sequence in a log line
// stays readable), and line ends become \n, as an XML parser would make them.
func Clean(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	var b strings.Builder
	for _, r := range s { // yields U+FFFD for each invalid byte
		switch {
		case r == '\r':
			b.WriteByte('\n')
		case allowed(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, "\\x%02x", r)
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}

// allowed is XML 1.0's production for a character.
func allowed(r rune) bool {
	return r == '\t' || r == '\n' ||
		r >= 0x20 && r <= 0xD7FF ||
		r >= 0xE000 && r <= 0xFFFD ||
		r >= 0x10000 && r <= utf8.MaxRune
}
