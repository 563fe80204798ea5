// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package junit

import (
	"encoding/xml"
	"fmt"
	"io"
)

// Write writes a document. Totals are counted, never taken from the caller.
func Write(w io.Writer, d Document) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("write junit: %w", err)
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	root := xml.StartElement{Name: xml.Name{Local: "testsuites"}}
	if err := enc.EncodeElement(encode(d), root); err != nil {
		return fmt.Errorf("write junit: %w", err)
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return fmt.Errorf("write junit: %w", err)
	}
	return nil
}

func encode(d Document) xmlSuites {
	t := d.Totals()
	x := xmlSuites{Name: Clean(d.Name), Time: seconds(d.Time), Tests: t.Tests, Failures: t.Failures, Errors: t.Errors}
	for _, s := range d.Suites {
		x.Suites = append(x.Suites, encodeSuite(s))
	}
	return x
}

func encodeSuite(s Suite) xmlSuite {
	t := s.Totals()
	x := xmlSuite{
		Name: Clean(s.Name), Tests: t.Tests, Failures: t.Failures, Errors: t.Errors, Skipped: t.Skipped,
		Time: seconds(s.Time), Hostname: Clean(s.Hostname),
	}
	if !s.Timestamp.IsZero() {
		x.Timestamp = s.Timestamp.UTC().Format(timestampLayout)
	}
	if len(s.Properties) > 0 {
		x.Properties = &xmlProperties{}
		for _, p := range s.Properties {
			x.Properties.Properties = append(x.Properties.Properties, xmlProperty{Clean(p.Name), Clean(p.Value)})
		}
	}
	for _, c := range s.Cases {
		x.Cases = append(x.Cases, encodeCase(c))
	}
	return x
}

func encodeCase(c Case) xmlCase {
	x := xmlCase{Name: Clean(c.Name), Class: Clean(c.Class), Time: seconds(c.Time)}
	reason := &xmlReason{Type: Clean(c.Type), Message: Clean(c.Message), Text: Clean(c.Text)}
	switch c.Status {
	case Passed:
	case Failure:
		x.Failure = reason
	case Skipped:
		x.Skipped = reason
	default:
		x.Error = reason
	}
	if c.Out != "" {
		x.Out = &xmlText{Clean(c.Out)}
	}
	return x
}
