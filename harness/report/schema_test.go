// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/report"
)

// rules are what the readers of JUnit agree on: for each element its parents, its
// attributes, and which of them it must have.
func rules() map[string]struct{ parents, may, must []string } {
	reason := []string{"type", "message"}
	return map[string]struct{ parents, may, must []string }{
		"testsuites": {[]string{""}, []string{"name", "time", "tests", "failures", "errors"}, []string{"tests", "failures", "errors"}},
		"testsuite": {
			[]string{"testsuites"},
			[]string{"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname"},
			[]string{"name", "tests", "failures", "errors", "skipped"},
		},
		"properties": {[]string{"testsuite"}, nil, nil},
		"property":   {[]string{"properties"}, []string{"name", "value"}, []string{"name", "value"}},
		"testcase":   {[]string{"testsuite"}, []string{"name", "time", "classname"}, []string{"name", "time", "classname"}},
		"failure":    {[]string{"testcase"}, reason, nil},
		"error":      {[]string{"testcase"}, reason, nil},
		"skipped":    {[]string{"testcase"}, reason, nil},
		"system-out": {[]string{"testcase"}, nil, nil},
	}
}

// checkStructure holds a file to the rules. It needs no xmllint, so it always runs.
func checkStructure(t require.TestingT, file []byte) {
	times := regexp.MustCompile(`^[0-9]+\.[0-9]{3}$`)
	all, cases, stack := rules(), map[string]bool{}, []string{""}
	dec := xml.NewDecoder(bytes.NewReader(file))
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		switch e := token.(type) {
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.StartElement:
			name := e.Name.Local
			rule, ok := all[name]
			require.True(t, ok, "element %s", name)
			require.Contains(t, rule.parents, stack[len(stack)-1], "parent of %s", name)
			stack = append(stack, name)
			attrs := map[string]string{}
			for _, a := range e.Attr {
				require.Contains(t, rule.may, a.Name.Local, "attribute of %s", name)
				attrs[a.Name.Local] = a.Value
				switch {
				case a.Name.Local == "time":
					require.Regexp(t, times, a.Value)
				case slices.Contains([]string{"tests", "failures", "errors", "skipped"}, a.Name.Local):
					_, err := strconv.ParseUint(a.Value, 10, 31)
					require.NoError(t, err)
				}
			}
			for _, a := range rule.must {
				require.Contains(t, attrs, a, "attribute of %s", name)
			}
			if name == "testcase" {
				key := attrs["classname"] + "\x00" + attrs["name"]
				require.False(t, cases[key], "two cases %q", key)
				cases[key] = true
			}
		}
	}
}

func TestSampleHasTheStructure(t *testing.T) {
	for _, m := range []report.Matrix{sample(), {}} {
		var b bytes.Buffer
		require.NoError(t, report.WriteJUnit(&b, m))
		checkStructure(t, b.Bytes())
	}
}

func TestJUnitIsValidForTheSchemas(t *testing.T) {
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("xmllint is not installed (Debian: libxml2-utils); TestSampleHasTheStructure checks the same rules")
	}
	schemas, err := filepath.Glob(filepath.Join("..", "..", "fixtures", "third_party", "junit", "*.xsd"))
	require.NoError(t, err)
	require.NotEmpty(t, schemas)

	dir := t.TempDir()
	valid := func(schema string, m report.Matrix) ([]byte, error) {
		require.NoError(t, report.Write(dir, m))
		return exec.CommandContext(t.Context(), xmllint, "--noout", "--nonet", "--schema", schema, filepath.Join(dir, report.JUnitFile)).CombinedOutput()
	}
	for _, schema := range schemas {
		t.Run(filepath.Base(schema), func(t *testing.T) {
			ms := []report.Matrix{sample(), {}}
			for seed := range 20 {
				ms = append(ms, anyMatrix().Example(seed))
			}
			for _, m := range ms {
				out, err := valid(schema, m)
				assert.NoError(t, err, "%s", out)
			}

			// The positive control: a schema that accepts everything proves nothing.
			bad := filepath.Join(dir, "bad.xml")
			for _, text := range []string{
				`<testsuites tests="0" failures="0" errors="0" skipped="0"></testsuites>`,
				`<testsuites tests="0" failures="0" errors="0" time="1e-05"></testsuites>`,
				`<testsuites tests="0" failures="0" errors="0"><testsuite name="s"></testsuite></testsuites>`,
			} {
				require.NoError(t, os.WriteFile(bad, []byte(text), 0o644))
				out, err := exec.CommandContext(t.Context(), xmllint, "--noout", "--nonet", "--schema", schema, bad).CombinedOutput()
				assert.Error(t, err, "%s: %s", text, out)
			}
		})
	}
}

var _ require.TestingT = (*rapid.T)(nil) // checkStructure serves both kinds of test
