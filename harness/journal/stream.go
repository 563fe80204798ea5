// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// maxLine bounds one instrument line: the longest is a histogram of some 100 KB.
const maxLine = 8 << 20

// Stream takes what one run of an instrument prints, line by line, and keeps each
// line as it came. It is an io.Writer for the instrument's stdout.
type Stream struct {
	o    *Observation
	name string
	rest []byte
}

// Write takes a piece of the instrument's output. A line that is not JSON is an
// error: an instrument that prints anything else is not one of ours.
func (s *Stream) Write(p []byte) (int, error) {
	s.rest = append(s.rest, p...)
	for {
		i := bytes.IndexByte(s.rest, '\n')
		if i < 0 {
			if len(s.rest) > maxLine {
				return 0, fmt.Errorf("read instrument %s: line longer than %d bytes", s.name, maxLine)
			}
			return len(p), nil
		}
		line := bytes.TrimSpace(s.rest[:i])
		s.rest = s.rest[i+1:]
		if len(line) == 0 {
			continue
		}
		if !json.Valid(line) {
			return 0, fmt.Errorf("read instrument %s: not a JSON line: %.200q", s.name, line)
		}
		if err := s.o.append(s.name, KindInstrument, json.RawMessage(line)); err != nil {
			return 0, err
		}
	}
}
