// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package latency keeps latencies in histograms that merge without loss.
package latency

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

// NewHistogram returns an empty histogram of the range all have.
func NewHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(lowestNS, highestNS, figures)
}

// Latencies keeps the exact extremes and sum beside the histogram's buckets.
type Latencies struct {
	hdr           *hdrhistogram.Histogram
	interval      *hdrhistogram.Histogram // what came since the last Swap; nil before the first
	min, max, sum int64
}

// New returns an empty one.
func New() *Latencies {
	return &Latencies{hdr: NewHistogram()}
}

// Record takes a latency; one outside the range is taken as its nearest end (a
// clock that cannot tell send from answer measures 0).
func (l *Latencies) Record(d time.Duration) error {
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

// Swap returns what was recorded since the last Swap, and lets empty take what comes. It
// is nil the first time.
func (l *Latencies) Swap(empty *hdrhistogram.Histogram) *hdrhistogram.Histogram {
	interval := l.interval
	l.interval = empty
	return interval
}

// Max is the longest, exactly; 0 without a sample.
func (l *Latencies) Max() time.Duration { return time.Duration(l.max) }

// Merge adds another's samples.
func (l *Latencies) Merge(other *Latencies) {
	l.hdr.Merge(other.hdr) // drops nothing: both have the same range
	if l.min == 0 || other.min != 0 && other.min < l.min {
		l.min = other.min
	}
	l.max = max(l.max, other.max)
	l.sum += other.sum
}

// Percentile is the latency that p percent of the samples do not exceed, within 0.1 %; 0
// without a sample.
func (l *Latencies) Percentile(p float64) int64 {
	if l.hdr.TotalCount() == 0 {
		return 0
	}
	return min(l.hdr.ValueAtPercentile(p), l.max)
}

// Body is the wire record of it.
func (l *Latencies) Body(target, name string) (probe.LoadHistogram, error) {
	encoded, err := l.hdr.EncodeV2()
	if err != nil {
		return probe.LoadHistogram{}, fmt.Errorf("encode %s histogram of %s: %w", name, target, err)
	}
	body := probe.LoadHistogram{
		Target: target, Name: name, Unit: "ns", HDR: string(encoded), Count: l.hdr.TotalCount(),
		Min: l.min, Max: l.max,
		P50: l.Percentile(50), P90: l.Percentile(90), P99: l.Percentile(99), P999: l.Percentile(99.9),
	}
	if body.Count > 0 {
		body.Mean = l.sum / body.Count
	}
	return body, nil
}

// Ranks reads the samples back from a wire record: the function gives the one of a rank
// in ascending order, from 0, within 0.1 %.
func Ranks(body probe.LoadHistogram) (func(rank int) int64, error) {
	h, err := hdrhistogram.Decode([]byte(body.HDR))
	if err != nil {
		return nil, fmt.Errorf("decode %s histogram of %s: %w", body.Name, body.Target, err)
	}
	if h.TotalCount() != body.Count {
		return nil, fmt.Errorf("decode %s histogram of %s: it holds %d samples of %d", body.Name, body.Target, h.TotalCount(), body.Count)
	}
	for _, p := range []struct {
		percentile float64
		said       int64
	}{{50, body.P50}, {90, body.P90}, {99, body.P99}, {99.9, body.P999}} {
		if got := min(h.ValueAtPercentile(p.percentile), body.Max); body.Count > 0 && got != p.said {
			return nil, fmt.Errorf("decode %s histogram of %s: its p%g is %d and not %d", body.Name, body.Target, p.percentile, got, p.said)
		}
	}
	return func(rank int) int64 {
		return min(h.ValueAtPercentile(100*float64(rank+1)/float64(body.Count)), body.Max)
	}, nil
}
