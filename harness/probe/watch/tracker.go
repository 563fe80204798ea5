// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package watch

import (
	"sync"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/latency"
)

// lateAfter is what a probe may be sent after its due time before it counts as late.
const lateAfter = time.Millisecond

// emitFunc writes a record.
type emitFunc func(kind string, body any) error

// tracker takes the results of one kind of traffic in whatever order they come, puts
// them in the order of their numbers, and writes what package probe says of them.
type tracker struct {
	traffic   string
	recovered int
	width     time.Duration
	startNS   int64
	emit      emitFunc

	mu       sync.Mutex
	next     int64                      // the number that is to be settled next
	waiting  map[int64]probe.WatchProbe // results of later ones
	settled  bool                       // no outage is open: the last so many succeeded
	row      int                        // successes since the last failure, while not settled
	last     *probe.WatchProbe          // the last success, unless it was written
	bucket   *probe.WatchBucket
	index    int64 // of the bucket
	counts   probe.WatchCounts
	response *latency.Latencies // from the due time
	service  *latency.Latencies // from the send
	lateness *latency.Latencies
}

func newTracker(c Config, traffic string, start time.Time, emit emitFunc) *tracker {
	return &tracker{
		traffic: traffic, recovered: c.Recovered, width: c.Bucket, startNS: start.UnixNano(), emit: emit,
		waiting: map[int64]probe.WatchProbe{}, settled: true,
		response: latency.New(), service: latency.New(), lateness: latency.New(),
	}
}

// tell takes the result of a probe. Each number is told once.
func (t *tracker) tell(p probe.WatchProbe) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.Traffic = t.traffic
	t.waiting[p.Probe] = p
	for {
		next, ok := t.waiting[t.next]
		if !ok {
			return nil
		}
		delete(t.waiting, t.next)
		t.next++
		if err := t.settle(next); err != nil {
			return err
		}
	}
}

func (t *tracker) settle(p probe.WatchProbe) error {
	if err := t.count(p); err != nil {
		return err
	}
	if !p.OK {
		if t.last != nil {
			if err := t.emit(probe.KindWatchProbe, *t.last); err != nil {
				return err
			}
			t.last = nil
		}
		t.settled, t.row = false, 0
		return t.emit(probe.KindWatchProbe, p)
	}
	if t.settled {
		t.last = &p
		return nil
	}
	t.last = nil
	t.row++
	t.settled = t.row >= t.recovered
	return t.emit(probe.KindWatchProbe, p)
}

// count adds a probe to its bucket and the totals.
func (t *tracker) count(p probe.WatchProbe) error {
	if i := (p.DueNS - t.startNS) / t.width.Nanoseconds(); t.bucket == nil || i != t.index {
		if err := t.flush(); err != nil {
			return err
		}
		t.index = i
		t.bucket = &probe.WatchBucket{
			Traffic: t.traffic, StartNS: t.startNS + i*t.width.Nanoseconds(), WidthMS: int(t.width.Milliseconds()), Backends: map[string]int{},
		}
	}
	t.counts.Probes++
	t.bucket.Probes++
	if p.Dropped {
		t.counts.Dropped++
		t.bucket.Dropped++
		return nil
	}
	late := time.Duration(p.SentNS - p.DueNS)
	if late > lateAfter {
		t.counts.Late++
		t.bucket.Late++
	}
	if err := t.lateness.Record(late); err != nil {
		return err
	}
	if !p.OK {
		t.counts.Failed++
		t.bucket.Failed++
		return nil
	}
	t.counts.OK++
	t.bucket.OK++
	t.bucket.MaxResponseNS = max(t.bucket.MaxResponseNS, p.EndNS-p.DueNS)
	if p.Backend != "" {
		t.bucket.Backends[p.Backend]++
	}
	if err := t.response.Record(time.Duration(p.EndNS - p.DueNS)); err != nil {
		return err
	}
	return t.service.Record(time.Duration(p.EndNS - p.SentNS))
}

func (t *tracker) flush() error {
	if t.bucket == nil {
		return nil
	}
	bucket := *t.bucket
	t.bucket = nil
	return t.emit(probe.KindWatchBucket, bucket)
}

// finish writes what is left, once every probe that was begun was told.
func (t *tracker) finish() (probe.WatchCounts, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.flush(); err != nil {
		return t.counts, err
	}
	for _, h := range []struct {
		name string
		of   *latency.Latencies
	}{{probe.HistogramResponse, t.response}, {probe.HistogramService, t.service}, {probe.HistogramLateness, t.lateness}} {
		body, err := h.of.Body(t.traffic, h.name)
		if err == nil {
			err = t.emit(probe.KindLoadHistogram, body)
		}
		if err != nil {
			return t.counts, err
		}
	}
	return t.counts, nil
}
