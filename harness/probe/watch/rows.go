// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package watch

import (
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// rowWidth is the longest row that is written at once.
const rowWidth = time.Second

// rows joins answers to those of their responder. It is for one address.
type rows struct {
	grace time.Duration
	emit  emitFunc
	row   *probe.WatchResponder
	n     int // that were written
}

// note adds an answer to its responder's row. An answer of another ends the row.
func (r *rows) note(answer probe.WatchResponder) error {
	if r.row != nil {
		row := r.row
		same := row.MAC == answer.MAC && row.EthernetSource == answer.EthernetSource && row.VLAN == answer.VLAN && (row.LastProbe < 0) == (answer.LastProbe < 0)
		if same && answer.LastNS-row.LastNS <= r.grace.Nanoseconds() && answer.LastNS-row.FirstNS < rowWidth.Nanoseconds() {
			row.LastProbe, row.LastNS = max(row.LastProbe, answer.LastProbe), answer.LastNS
			row.Replies++
			return nil
		}
		if err := r.write(); err != nil {
			return err
		}
	}
	r.row = &answer
	return nil
}

// write writes the row that is not over.
func (r *rows) write() error {
	if r.row == nil {
		return nil
	}
	row := *r.row
	r.row = nil
	r.n++
	return r.emit(probe.KindWatchResponder, row)
}
