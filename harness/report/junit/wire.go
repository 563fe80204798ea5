// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package junit

import (
	"fmt"
	"strconv"
	"time"
)

// The types below are the XML itself. Times are strings because encoding/xml would
// write small ones with an exponent, which the schema refuses.

type xmlSuites struct {
	Name     string     `xml:"name,attr,omitempty"`
	Time     string     `xml:"time,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	Suites   []xmlSuite `xml:"testsuite"`
}

type xmlSuite struct {
	Name       string         `xml:"name,attr"`
	Tests      int            `xml:"tests,attr"`
	Failures   int            `xml:"failures,attr"`
	Errors     int            `xml:"errors,attr"`
	Skipped    int            `xml:"skipped,attr"`
	Time       string         `xml:"time,attr"`
	Timestamp  string         `xml:"timestamp,attr,omitempty"`
	Hostname   string         `xml:"hostname,attr,omitempty"`
	Properties *xmlProperties `xml:"properties"`
	Cases      []xmlCase      `xml:"testcase"`
}

type xmlProperties struct {
	Properties []xmlProperty `xml:"property"`
}

type xmlProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type xmlCase struct {
	Name    string     `xml:"name,attr"`
	Class   string     `xml:"classname,attr"`
	Time    string     `xml:"time,attr"`
	Failure *xmlReason `xml:"failure"`
	Error   *xmlReason `xml:"error"`
	Skipped *xmlReason `xml:"skipped"`
	Out     *xmlText   `xml:"system-out"`
}

type xmlReason struct {
	Type    string `xml:"type,attr,omitempty"`
	Message string `xml:"message,attr,omitempty"`
	Text    string `xml:",cdata"`
}

type xmlText struct {
	Text string `xml:",cdata"`
}

// timestampLayout has no zone because most readers know none; the time is UTC.
const timestampLayout = "2006-01-02T15:04:05"

// maxTime is the longest time that is written or read: 31 years, well inside what a
// duration can hold.
const maxTime = 1e9 * time.Second

// seconds writes a duration with three decimals; a clock that went backwards gives 0.
func seconds(d time.Duration) string {
	return strconv.FormatFloat(min(max(d, 0), maxTime).Seconds(), 'f', 3, 64)
}

// parseSeconds reads what seconds wrote, and what others write when it is plain.
func parseSeconds(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("parse time: %w", err)
	}
	if !(f >= 0 && f <= maxTime.Seconds()) { // also refuses NaN
		return 0, fmt.Errorf("parse time %q: out of range", s)
	}
	return time.Duration(f * float64(time.Second)).Round(time.Millisecond), nil
}
