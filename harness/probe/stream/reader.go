// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package stream

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// maxLine bounds one record in bytes. The largest is an HdrHistogram, which is
// well under 100 kB compressed.
const maxLine = 4 << 20

// ErrIncomplete is what Read returns for a run that lost records: a gap in the
// numbers, a torn line, no start or no end.
var ErrIncomplete = errors.New("incomplete stream")

// Read reads a whole run. It returns all records up to the first fault, with an
// error that wraps ErrIncomplete when there is one.
func Read(in io.Reader) ([]probe.Record, error) {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(make([]byte, 0, 64<<10), maxLine)
	var records []probe.Record
	for scanner.Scan() {
		var record probe.Record
		if err := json.Unmarshal(scanner.Bytes(), &record); err != nil {
			return records, fmt.Errorf("line %d: %w: %w", len(records)+1, ErrIncomplete, err)
		}
		records = append(records, record)
	}
	if err := scanner.Err(); err != nil {
		return records, fmt.Errorf("read records: %w: %w", ErrIncomplete, err)
	}
	return records, Check(records)
}

// Check tells whether records are one whole run: numbered 1, 2, 3, opened by a
// start, closed by an end that carries their number. The error wraps
// ErrIncomplete.
func Check(records []probe.Record) error {
	for i, record := range records {
		if want := int64(i) + 1; record.Seq != want {
			return fmt.Errorf("%w: record %d follows %d", ErrIncomplete, record.Seq, i)
		}
		if (record.Kind == probe.KindStart) != (i == 0) {
			return fmt.Errorf("%w: record %d is %s", ErrIncomplete, record.Seq, record.Kind)
		}
		if record.Kind == probe.KindEnd && i != len(records)-1 {
			return fmt.Errorf("%w: record %d comes after the end", ErrIncomplete, i+2)
		}
	}
	if len(records) == 0 || records[len(records)-1].Kind != probe.KindEnd {
		return fmt.Errorf("%w: no end record after %d", ErrIncomplete, len(records))
	}
	end, err := probe.Decode[probe.End](records[len(records)-1])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	if end.Records != int64(len(records)) {
		return fmt.Errorf("%w: end says %d records, have %d", ErrIncomplete, end.Records, len(records))
	}
	return nil
}
