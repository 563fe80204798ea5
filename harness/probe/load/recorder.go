// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/latency"
	"github.com/lbmatrix/lbmatrix/harness/probe/request"
)

// outcome is what became of one request.
type outcome struct {
	job
	sent, at  time.Time // at: when it ended; sent: zero where it never was
	cancelled bool      // ended because the run did: no fact about the target
	answer    request.Answer
	err       error
}

// recorder turns outcomes into records. A bucket is written as soon as its time
// has passed and its last request has ended, so that a run that is killed has
// written nearly everything it knew.
type recorder struct {
	config Config
	emit   func(kind string, body any) error
	start  time.Time

	mu      sync.Mutex
	targets []*targetState
}

type targetState struct {
	name       string
	totals     probe.LoadTotals
	histograms map[string]*latency.Latencies // by the name of the record
	response   *latency.Latencies            // the same, found without a map: they are used for each request
	service    *latency.Latencies
	lateness   *latency.Latencies
	backends   map[string]*probe.BackendCount
	buckets    map[int64]*bucket
	newest     int64 // bucket that was used
}

type bucket struct {
	probe.LoadBucket
	pending int
}

// histogramNames are those of a target, in the order of their records.
func histogramNames() []string {
	return []string{probe.HistogramResponse, probe.HistogramService, probe.HistogramLateness}
}

func newRecorder(c Config, emit func(kind string, body any) error, start time.Time) *recorder {
	r := &recorder{config: c, emit: emit, start: start}
	for _, target := range c.Targets {
		t := &targetState{
			name: target.Name, totals: probe.LoadTotals{ErrorKinds: map[string]int64{}},
			response: latency.New(), service: latency.New(), lateness: latency.New(),
			backends: map[string]*probe.BackendCount{}, buckets: map[int64]*bucket{},
		}
		t.histograms = map[string]*latency.Latencies{
			probe.HistogramResponse: t.response, probe.HistogramService: t.service, probe.HistogramLateness: t.lateness,
		}
		r.targets = append(r.targets, t)
	}
	return r
}

func (r *recorder) bucket(t *targetState, due time.Time) *bucket {
	i := int64(due.Sub(r.start) / r.config.Bucket)
	b := t.buckets[i]
	if b == nil {
		b = &bucket{LoadBucket: probe.LoadBucket{
			Target: t.name, StartNS: r.start.Add(time.Duration(i) * r.config.Bucket).UnixNano(),
			WidthMS: int(r.config.Bucket.Milliseconds()),
		}}
		t.buckets[i] = b
	}
	return b
}

// scheduled notes a request that falls due. A dropped one has no outcome.
func (r *recorder) scheduled(target int, due time.Time, dropped bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.targets[target]
	b := r.bucket(t, due)
	t.totals.Scheduled++
	b.Requests++
	if dropped {
		t.totals.Dropped++
		b.Dropped++
	} else {
		b.pending++
	}
	if i := int64(due.Sub(r.start) / r.config.Bucket); i > t.newest {
		t.newest = i
		return r.flush(t, i)
	}
	return nil
}

// ended notes an outcome.
func (r *recorder) ended(o outcome) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.targets[o.target]
	b := r.bucket(t, o.due)
	b.pending--
	if !o.sent.IsZero() {
		lateness := o.sent.Sub(o.due)
		if lateness > r.config.Late {
			t.totals.Late++
			b.Late++
		}
		if o.number >= r.config.Warmup {
			if err := t.lateness.Record(lateness); err != nil {
				return err
			}
		}
	}
	switch {
	case o.cancelled:
		t.totals.Cancelled++
		return nil
	case o.err != nil:
		return r.failed(t, b, o)
	default:
		return r.succeeded(t, b, o)
	}
}

func (r *recorder) failed(t *targetState, b *bucket, o outcome) error {
	kind := request.Classify(o.err)
	t.totals.Completed++
	t.totals.Errors++
	t.totals.ErrorKinds[kind]++
	b.Errors++
	return r.emit(probe.KindLoadError, probe.LoadError{
		Target: t.name, Request: o.number, DueNS: o.due.UnixNano(), EndNS: o.at.UnixNano(),
		ErrorKind: kind, Message: o.err.Error(), Peer: r.config.Targets[o.target].Address,
		Local: o.answer.Local, Warmup: o.number < r.config.Warmup,
	})
}

func (r *recorder) succeeded(t *targetState, b *bucket, o outcome) error {
	t.totals.Completed++
	t.totals.OK++
	b.OK++
	at, response := o.at.UnixNano(), o.at.Sub(o.due)
	if b.FirstOKNS == 0 || at < b.FirstOKNS {
		b.FirstOKNS = at
	}
	b.LastOKNS = max(b.LastOKNS, at)
	b.MaxResponseNS = max(b.MaxResponseNS, response.Nanoseconds())
	if o.answer.Identity != nil {
		t.answeredBy(o.answer.Identity)
	}
	if o.number < r.config.Warmup {
		t.totals.WarmupExcluded++
		return nil
	}
	return cmp.Or(t.response.Record(response), t.service.Record(o.at.Sub(o.sent)))
}

// flush writes a target's whole buckets before the given one, oldest first.
func (r *recorder) flush(t *targetState, before int64) error {
	for _, i := range slices.Sorted(maps.Keys(t.buckets)) {
		b := t.buckets[i]
		if i >= before || b.pending > 0 {
			continue
		}
		delete(t.buckets, i)
		if err := r.emit(probe.KindLoadBucket, b.LoadBucket); err != nil {
			return err
		}
	}
	return nil
}

// finish writes what is left, once no request is in flight, and returns the totals.
func (r *recorder) finish() (probe.LoadTotals, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := probe.LoadTotals{ErrorKinds: map[string]int64{}, Targets: map[string]probe.LoadTotals{}}
	var failed error
	for _, t := range r.targets {
		all.Targets[t.name] = t.totals
		add(&all, t.totals)
		if failed == nil {
			failed = r.finishTarget(t)
		}
	}
	return all, failed
}

func (r *recorder) finishTarget(t *targetState) error {
	if err := r.flush(t, 1<<62); err != nil {
		return err
	}
	for _, name := range histogramNames() {
		body, err := t.histograms[name].Body(t.name, name)
		if err == nil {
			err = r.emit(probe.KindLoadHistogram, body)
		}
		if err != nil {
			return err
		}
	}
	return r.emit(probe.KindLoadPeers, t.peers())
}

func add(all *probe.LoadTotals, t probe.LoadTotals) {
	all.Scheduled += t.Scheduled
	all.Completed += t.Completed
	all.OK += t.OK
	all.Errors += t.Errors
	all.Late += t.Late
	all.Dropped += t.Dropped
	all.Cancelled += t.Cancelled
	all.WarmupExcluded += t.WarmupExcluded
	for kind, n := range t.ErrorKinds {
		all.ErrorKinds[kind] += n
	}
}
