// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// The range and precision of every histogram: 1 ns to 1 hour, 3 significant
// figures. All alike, so that any two merge without loss.
const (
	lowestNS  = int64(1)
	highestNS = int64(time.Hour)
	figures   = 3
)

func histogramNames() []string {
	return []string{probe.HistogramResponse, probe.HistogramService, probe.HistogramLateness}
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(lowestNS, highestNS, figures)
}

// latencies keeps the exact extremes and sum beside the histogram's buckets.
type latencies struct {
	hdr           *hdrhistogram.Histogram
	interval      *hdrhistogram.Histogram // what came since the log's last line; nil without a log
	min, max, sum int64
}

func newLatencies() *latencies {
	return &latencies{hdr: newHistogram()}
}

// record takes a latency; one outside the range is taken as its nearest end (a
// clock that cannot tell send from answer measures 0).
func (l *latencies) record(d time.Duration) error {
	v := min(max(int64(d), lowestNS), highestNS)
	err := l.hdr.RecordValue(v)
	if err == nil && l.interval != nil {
		err = l.interval.RecordValue(v)
	}
	if err != nil {
		return fmt.Errorf("record latency: %w", err)
	}
	if l.min == 0 || v < l.min {
		l.min = v
	}
	l.max = max(l.max, v)
	l.sum += v
	return nil
}

// merge adds another's samples.
func (l *latencies) merge(other *latencies) {
	l.hdr.Merge(other.hdr) // drops nothing: both have the same range
	if l.min == 0 || other.min != 0 && other.min < l.min {
		l.min = other.min
	}
	l.max = max(l.max, other.max)
	l.sum += other.sum
}

// percentile is the latency that p percent of the samples do not exceed, within 0.1 %; 0
// without a sample.
func (l *latencies) percentile(p float64) int64 {
	if l.hdr.TotalCount() == 0 {
		return 0
	}
	return min(l.hdr.ValueAtPercentile(p), l.max)
}

func (l *latencies) body(target, name string) (probe.LoadHistogram, error) {
	encoded, err := l.hdr.EncodeV2()
	if err != nil {
		return probe.LoadHistogram{}, fmt.Errorf("encode %s histogram of %s: %w", name, target, err)
	}
	body := probe.LoadHistogram{
		Target: target, Name: name, Unit: "ns", HDR: string(encoded), Count: l.hdr.TotalCount(),
		Min: l.min, Max: l.max,
		P50: l.percentile(50), P90: l.percentile(90), P99: l.percentile(99), P999: l.percentile(99.9),
	}
	if body.Count > 0 {
		body.Mean = l.sum / body.Count
	}
	return body, nil
}
