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

// latencies keeps the exact extremes and sum beside the histogram's buckets.
type latencies struct {
	hdr           *hdrhistogram.Histogram
	min, max, sum int64
}

func newLatencies() *latencies {
	return &latencies{hdr: hdrhistogram.New(lowestNS, highestNS, figures)}
}

// record takes a latency; one outside the range is taken as its nearest end (a
// clock that cannot tell send from answer measures 0).
func (l *latencies) record(d time.Duration) error {
	v := min(max(int64(d), lowestNS), highestNS)
	if err := l.hdr.RecordValue(v); err != nil {
		return fmt.Errorf("record latency: %w", err)
	}
	if l.min == 0 || v < l.min {
		l.min = v
	}
	l.max = max(l.max, v)
	l.sum += v
	return nil
}

func (l *latencies) body(target, name string) (probe.LoadHistogram, error) {
	encoded, err := l.hdr.EncodeV2()
	if err != nil {
		return probe.LoadHistogram{}, fmt.Errorf("encode %s histogram of %s: %w", name, target, err)
	}
	body := probe.LoadHistogram{
		Target: target, Name: name, Unit: "ns", HDR: string(encoded), Count: l.hdr.TotalCount(),
		Min: l.min, Max: l.max,
	}
	if body.Count > 0 {
		body.Mean = l.sum / body.Count
		percentile := func(p float64) int64 { return min(l.hdr.ValueAtPercentile(p), l.max) }
		body.P50, body.P90, body.P99, body.P999 = percentile(50), percentile(90), percentile(99), percentile(99.9)
	}
	return body, nil
}
