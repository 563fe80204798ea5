// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Journal is a journal that was read back: its header, its records in file order,
// and what is wrong with it as a file.
type Journal struct {
	Header  Header
	Records []Record
	// Torn says that the last line was cut off, as a killed writer leaves it.
	Torn bool
	// Ended says that the journal's end record is there and that no record before it is lost.
	Ended bool
	// Reason is the end record's: one of the Reason constants, "" without such a record.
	Reason string
	// Lost is how many records the sequence numbers and the end record say are missing.
	Lost int64
	// Disorder is why nothing in the journal may be believed: a line that is no record, or
	// sequence numbers that repeat or go back. Nil for a journal that only lost lines.
	Disorder error
}

// ErrNoHeader is a journal without its first record.
var ErrNoHeader = errors.New("the header record is missing")

// ReadFile reads the journal at path.
func ReadFile(path string) (*Journal, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	defer f.Close()
	j, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("read journal %s: %w", path, err)
	}
	return j, nil
}

// Read reads a journal. Damage to single lines is kept in the result, so that what
// is whole can still be judged; only a journal without a readable header, or of
// another format, is an error.
func Read(r io.Reader) (*Journal, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	j := &Journal{}
	for n := 1; len(data) > 0; n++ {
		line, rest, whole := bytes.Cut(data, []byte{'\n'})
		data = rest
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var rec Record
		if err := json.Unmarshal(line, &rec); err != nil {
			if !whole || len(data) == 0 {
				j.Torn = true
				break
			}
			j.disorder(fmt.Errorf("line %d is no record: %w", n, err))
			continue
		}
		if !whole {
			// A record whose newline is missing was cut off while it was written.
			j.Torn = true
			break
		}
		j.add(rec, n)
	}
	if len(j.Records) == 0 || j.Records[0].Kind != KindHeader {
		return nil, ErrNoHeader
	}
	if err := json.Unmarshal(j.Records[0].Body, &j.Header); err != nil {
		return nil, fmt.Errorf("decode header: %w", err)
	}
	if j.Header.Format != Version {
		return nil, fmt.Errorf("format %d is not known here; this lbmatrix reads format %d", j.Header.Format, Version)
	}
	j.checkEnd()
	return j, nil
}

func (j *Journal) add(rec Record, line int) {
	if n := len(j.Records); n > 0 && rec.Seq <= j.Records[n-1].Seq {
		j.disorder(fmt.Errorf("line %d: sequence number %d after %d", line, rec.Seq, j.Records[n-1].Seq))
		return
	}
	j.Records = append(j.Records, rec)
}

func (j *Journal) disorder(err error) {
	if j.Disorder == nil {
		j.Disorder = err
	}
}

func (j *Journal) checkEnd() {
	last := j.Records[len(j.Records)-1]
	j.Lost = last.Seq - int64(len(j.Records))
	var end End
	if last.Kind != KindEnd || json.Unmarshal(last.Body, &end) != nil {
		return
	}
	j.Reason = end.Reason
	j.Ended = end.Records == last.Seq && j.Lost == 0
}
