// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// FuzzLoad: whatever the bytes, Load returns a scenario with a digest, or errors
// that lie inside the file.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(good))
	for _, c := range changes() {
		if len(c.new) < 10000 {
			f.Add([]byte(strings.Replace(good, c.old, c.new, 1)))
		}
	}
	opts := known()
	opts.Files = files()
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := scenario.Load("fuzz.yaml", data, opts)
		if err == nil {
			if _, err := s.Digest(); err != nil {
				t.Fatal(err)
			}
			return
		}
		var all scenario.Errors
		if !errors.As(err, &all) || len(all) == 0 {
			t.Fatalf("error is not Errors: %v", err)
		}
		count := 1
		for _, sep := range []string{"\r\n", "\n", "\r", "\u0085", "\u2028", "\u2029"} {
			count += strings.Count(string(data), sep)
		}
		for i, one := range all {
			if one.File == "fuzz.yaml" && (one.Line < 1 || one.Line > count || one.Column < 1 || one.Column > utf8.RuneCount(data)+1) {
				t.Fatalf("error outside of the file: %v", one)
			}
			if one.Message == "" || strings.ContainsAny(one.Message, "\n") {
				t.Fatalf("message is not one line: %q", one.Message)
			}
			if i > 0 && one.File == all[i-1].File && one.Line < all[i-1].Line {
				t.Fatalf("not sorted: %v after %v", one, all[i-1])
			}
		}
	})
}
