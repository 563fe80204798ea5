// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package junit_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/report/junit"
)

func document() junit.Document {
	return junit.Document{
		Name: "lbmatrix", Time: 90 * time.Second,
		Suites: []junit.Suite{{
			Name: "s", Time: 1500 * time.Millisecond, Timestamp: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), Hostname: "h",
			Properties: []junit.Property{{Name: "a", Value: "b"}},
			Cases: []junit.Case{
				{Class: "s", Name: "a", Status: junit.Passed, Time: time.Microsecond, Out: "fine\n"},
				{Class: "s", Name: "b", Status: junit.Failure, Type: "code", Message: "m", Text: "a ]]> b"},
				{Class: "s", Name: "c", Status: junit.Error, Type: "code", Message: "m", Text: "t", Out: "o"},
				{Class: "s", Name: "d", Status: junit.Skipped, Message: "m"},
			},
		}, {Name: "empty"}},
	}
}

func TestRoundTrip(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, junit.Write(&b, document()))
	got, err := junit.Read(&b)
	require.NoError(t, err)
	want := document()
	want.Suites[0].Cases[0].Time = 0 // under a millisecond
	assert.Equal(t, want, got)
	assert.Equal(t, junit.Totals{Tests: 4, Failures: 1, Errors: 1, Skipped: 1}, got.Totals())
}

func TestUnknownStatusIsAnError(t *testing.T) {
	d := junit.Document{Suites: []junit.Suite{{Cases: []junit.Case{{Name: "a"}, {Name: "b", Status: "ok"}}}}}
	var b bytes.Buffer
	require.NoError(t, junit.Write(&b, d))
	got, err := junit.Read(&b)
	require.NoError(t, err)
	assert.Equal(t, junit.Totals{Tests: 2, Errors: 2}, got.Totals())
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain ]]> <&>":    "plain ]]> <&>",
		"\x1b[31mred\x00":  `\x1b[31mred\x00`,
		"a\r\nb\rc\td":     "a\nb\nc\td",
		"\xff\xed\xa0\x80": "\ufffd\ufffd\ufffd\ufffd",
		"\ufffe\uffff":     `\ufffe\uffff`,
		"\U0001F600 é":     "\U0001F600 é",
		"del\x7f\u0085":    "del\x7f\u0085",
	} {
		assert.Equal(t, want, junit.Clean(in))
	}
}

func TestReadRefuses(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, junit.Write(&b, document()))
	whole := b.String()
	edit := func(from, to string) string {
		require.Contains(t, whole, from)
		return strings.Replace(whole, from, to, 1)
	}
	for want, text := range map[string]string{
		"EOF":                         "",
		"unexpected EOF":              whole[:len(whole)/2],
		"there are 4, 1, 1":           edit(`tests="4" failures="1" errors="1">`, `tests="5" failures="1" errors="1">`),
		"there are 4, 1, 1, 1":        edit(`skipped="1"`, `skipped="0"`),
		"is both failure and error":   edit("</failure>", "</failure><error></error>"),
		`root element is "testsuite"`: `<testsuite name="a" tests="0" failures="0" errors="0"/>`,
		"second root":                 whole + "<testsuites/>",
		"out of range":                edit(`time="1.500"`, `time="-1"`),
		"parse time":                  edit(`time="1.500"`, `time="soon"`),
		"parse timestamp":             edit(`T10:00:00"`, `"`),
	} {
		_, err := junit.Read(strings.NewReader(text))
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, "read junit: ")
	}
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

func TestWriteTellsOfEveryFailure(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, junit.Write(&b, document()))
	for room := range b.Len() {
		require.ErrorContains(t, junit.Write(&failingWriter{room}, document()), "disk full")
	}
	require.NoError(t, junit.Write(&failingWriter{b.Len()}, document()))
}

// FuzzRead: whatever Read accepts can be written, and is then stable.
func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	require.NoError(f, junit.Write(&b, document()))
	f.Add(b.Bytes())
	f.Add([]byte(`<testsuites tests="0" failures="0" errors="0"/>`))
	f.Add([]byte(`<a:testsuites xmlns:a="u" tests="0" failures="0" errors="0"><testsuite/></a:testsuites>`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := junit.Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var first, second bytes.Buffer
		require.NoError(t, junit.Write(&first, d))
		again, err := junit.Read(bytes.NewReader(first.Bytes()))
		require.NoError(t, err)
		require.Equal(t, d.Totals(), again.Totals())
		require.NoError(t, junit.Write(&second, again))
		require.Equal(t, first.String(), second.String())
	})
}

// FuzzWrite: whatever the texts, what is written is XML that reads back as the same cases.
func FuzzWrite(f *testing.F) {
	f.Add("doc", "suite", "class", "name", "failure", "type", "message", "text", "out", "host", int64(1500))
	f.Add("\x00\xff", "]]>", "<a>", "\r\n\x1b[1m", "nobody knows", "&amp;", "\ufffe", "\u2028", " \t", "é\U0010ffff", int64(-1))
	f.Fuzz(func(t *testing.T, doc, suite, class, name, status, kind, message, text, out, host string, ms int64) {
		c := junit.Case{
			Class: class, Name: name, Status: junit.Status(status), Type: kind, Message: message, Text: text, Out: out,
			Time: time.Duration(ms%int64(24*time.Hour/time.Millisecond)) * time.Millisecond,
		}
		d := junit.Document{Name: doc, Suites: []junit.Suite{{
			Name: suite, Hostname: host, Properties: []junit.Property{{Name: kind, Value: message}}, Cases: []junit.Case{c, {Name: "passes", Status: junit.Passed}},
		}}}
		var b bytes.Buffer
		if err := junit.Write(&b, d); err != nil {
			t.Fatal(err)
		}
		again, err := junit.Read(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatalf("cannot read what was written: %v\n%s", err, b.Bytes())
		}
		if again.Totals() != d.Totals() {
			t.Fatalf("%+v became %+v", d.Totals(), again.Totals())
		}
		got := again.Suites[0]
		for _, pair := range [][2]string{
			{again.Name, doc},
			{got.Name, suite},
			{got.Hostname, host},
			{got.Properties[0].Name, kind},
			{got.Properties[0].Value, message},
			{got.Cases[0].Class, class},
			{got.Cases[0].Name, name},
		} {
			if pair[0] != junit.Clean(pair[1]) {
				t.Fatalf("%q became %q", pair[1], pair[0])
			}
		}
		if got.Cases[0].Status != junit.Passed && got.Cases[0].Message != junit.Clean(message) {
			t.Fatalf("message %q became %q", message, got.Cases[0].Message)
		}
	})
}
