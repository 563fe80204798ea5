// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/lbmatrix/lbmatrix/harness/probe/latency"
)

// hdrLog writes interval histograms: one line for each target and histogram that had a
// sample, tagged TARGET/NAME. The lines of one tag add up to its histogram of the run,
// and those of several runs or clients to that of all of them.
type hdrLog struct {
	recorder *recorder
	out      *hdrhistogram.HistogramLogWriter
	spare    *hdrhistogram.Histogram // takes the place of the one that is being written
	since    time.Time
}

// logIntervals begins the log, if there is to be one. The returned func ends it with
// what is left, and says what went wrong; the run goes on without its log until then.
func (r *recorder) logIntervals() (finish func() error, err error) {
	if r.config.HDRLog == nil {
		return func() error { return nil }, nil
	}
	l := &hdrLog{recorder: r, out: hdrhistogram.NewHistogramLogWriter(r.config.HDRLog), spare: latency.NewHistogram(), since: r.start}
	if err := l.header(); err != nil {
		return nil, fmt.Errorf("write hdr log: %w", err)
	}
	r.mu.Lock()
	for _, t := range r.targets {
		for _, h := range t.histograms {
			h.Swap(latency.NewHistogram())
		}
	}
	r.mu.Unlock()

	stop := make(chan struct{})
	var writing sync.WaitGroup
	var failed error
	writing.Go(func() {
		ticker := time.NewTicker(r.config.HDRInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				failed = errors.Join(failed, l.interval())
			case <-stop:
				failed = errors.Join(failed, l.interval())
				return
			}
			if failed != nil {
				return
			}
		}
	})
	return func() error {
		close(stop)
		writing.Wait()
		return failed
	}, nil
}

func (l *hdrLog) header() error {
	startMS := l.since.UnixMilli()
	if err := l.out.OutputLogFormatVersion(); err != nil {
		return err
	}
	if err := l.out.OutputComment("[lbprobe load: nanoseconds, warm-up excluded; tags are TARGET/HISTOGRAM]"); err != nil {
		return err
	}
	if err := l.out.OutputStartTime(startMS); err != nil {
		return err
	}
	// Lines count from the base time, whole seconds in the header.
	l.out.SetBaseTime(startMS / 1000 * 1000)
	if err := l.out.OutputBaseTime(startMS); err != nil {
		return err
	}
	return l.out.OutputLegend()
}

// interval writes a line for whatever came since the last. Requests are held up only
// while histograms change places, not while they are encoded.
func (l *hdrLog) interval() error {
	from, to := l.since, time.Now()
	l.since = to
	for _, t := range l.recorder.targets {
		for _, name := range histogramNames() {
			h := t.histograms[name]
			l.recorder.mu.Lock()
			done := h.Swap(l.spare)
			l.recorder.mu.Unlock()
			if done.TotalCount() > 0 {
				done.SetTag(t.name + "/" + name)
				done.SetStartTimeMs(from.UnixMilli())
				done.SetEndTimeMs(to.UnixMilli())
				if err := l.out.OutputIntervalHistogram(done); err != nil {
					l.spare = latency.NewHistogram() // done's place is taken
					return fmt.Errorf("write hdr log: %w", err)
				}
				done.Reset()
			}
			l.spare = done
		}
	}
	return nil
}

// MergeLog reads an HdrHistogram log, or several one after the other, and adds up the
// histograms of each tag.
func MergeLog(in io.Reader) (map[string]*hdrhistogram.Histogram, error) {
	reader := hdrhistogram.NewHistogramLogReader(in)
	merged := map[string]*hdrhistogram.Histogram{}
	for {
		h, err := reader.NextIntervalHistogram()
		if err != nil {
			return nil, fmt.Errorf("read hdr log: %w", err)
		}
		if h == nil {
			return merged, nil
		}
		have := merged[h.Tag()]
		if have == nil {
			merged[h.Tag()] = h
			continue
		}
		if dropped := have.Merge(h); dropped > 0 {
			return nil, fmt.Errorf("read hdr log: %d samples of %s are out of the range of its first histogram", dropped, h.Tag())
		}
	}
}
