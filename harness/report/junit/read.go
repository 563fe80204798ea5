// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package junit

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"time"
)

// MaxSize bounds what Read takes. A full matrix is well under a megabyte.
const MaxSize = 64 << 20

// Read reads a document that Write wrote. It refuses one whose stated totals are not
// those of its cases: such a file was cut or edited, and its verdict means nothing.
func Read(r io.Reader) (Document, error) {
	d, err := read(&io.LimitedReader{R: r, N: MaxSize})
	if err != nil {
		return Document{}, fmt.Errorf("read junit: %w", err)
	}
	return d, nil
}

func read(r *io.LimitedReader) (Document, error) {
	dec := xml.NewDecoder(r)
	root, err := startElement(dec)
	if err != nil {
		return Document{}, err
	}
	if root.Name.Local != "testsuites" {
		return Document{}, fmt.Errorf("root element is %q, want testsuites", root.Name.Local)
	}
	var x xmlSuites
	if err := dec.DecodeElement(&x, &root); err != nil {
		return Document{}, err
	}
	switch next, err := startElement(dec); {
	case err == nil:
		return Document{}, fmt.Errorf("a second root element %q", next.Name.Local)
	case !errors.Is(err, io.EOF):
		return Document{}, err
	case r.N <= 0:
		return Document{}, fmt.Errorf("more than %d bytes", MaxSize)
	}
	return decode(x)
}

// startElement finds the next element outside any other.
func startElement(dec *xml.Decoder) (xml.StartElement, error) {
	for {
		t, err := dec.Token()
		if err != nil {
			return xml.StartElement{}, err
		}
		if s, ok := t.(xml.StartElement); ok {
			return s, nil
		}
	}
}

func decode(x xmlSuites) (Document, error) {
	d := Document{Name: x.Name}
	var err error
	if d.Time, err = parseSeconds(x.Time); err != nil {
		return d, err
	}
	for _, xs := range x.Suites {
		s, err := decodeSuite(xs)
		if err != nil {
			return d, fmt.Errorf("suite %q: %w", xs.Name, err)
		}
		d.Suites = append(d.Suites, s)
	}
	t := d.Totals()
	if x.Tests != t.Tests || x.Failures != t.Failures || x.Errors != t.Errors {
		return d, fmt.Errorf("totals say %d tests, %d failures, %d errors; there are %d, %d, %d",
			x.Tests, x.Failures, x.Errors, t.Tests, t.Failures, t.Errors)
	}
	return d, nil
}

func decodeSuite(x xmlSuite) (Suite, error) {
	s := Suite{Name: x.Name, Hostname: x.Hostname}
	var err error
	if s.Time, err = parseSeconds(x.Time); err != nil {
		return s, err
	}
	if x.Timestamp != "" {
		if s.Timestamp, err = time.Parse(timestampLayout, x.Timestamp); err != nil {
			return s, fmt.Errorf("parse timestamp: %w", err)
		}
	}
	if x.Properties != nil {
		for _, p := range x.Properties.Properties {
			s.Properties = append(s.Properties, Property(p))
		}
	}
	for _, xc := range x.Cases {
		c, err := decodeCase(xc)
		if err != nil {
			return s, fmt.Errorf("case %q: %w", xc.Name, err)
		}
		s.Cases = append(s.Cases, c)
	}
	if t := s.Totals(); t != (Totals{x.Tests, x.Failures, x.Errors, x.Skipped}) {
		return s, fmt.Errorf("totals say %d tests, %d failures, %d errors, %d skipped; there are %d, %d, %d, %d",
			x.Tests, x.Failures, x.Errors, x.Skipped, t.Tests, t.Failures, t.Errors, t.Skipped)
	}
	return s, nil
}

func decodeCase(x xmlCase) (Case, error) {
	c := Case{Name: x.Name, Class: x.Class, Status: Passed}
	var err error
	if c.Time, err = parseSeconds(x.Time); err != nil {
		return c, err
	}
	for _, r := range []struct {
		status Status
		reason *xmlReason
	}{{Failure, x.Failure}, {Error, x.Error}, {Skipped, x.Skipped}} {
		if r.reason == nil {
			continue
		}
		if c.Status != Passed {
			return c, fmt.Errorf("is both %s and %s", c.Status, r.status)
		}
		c.Status = r.status
		c.Type, c.Message, c.Text = r.reason.Type, r.reason.Message, r.reason.Text
	}
	if x.Out != nil {
		c.Out = x.Out.Text
	}
	return c, nil
}
