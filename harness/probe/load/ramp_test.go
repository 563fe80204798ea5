// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/request"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// For every limit between the first rate and the highest, the search ends with it
// between what was met and what was missed, as near as was asked for.
func TestRampSearchBrackets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Float64Range(1, 2e5).Draw(t, "limit")
		s := search{first: rapid.Float64Range(1, 1e5).Draw(t, "first"), max: 1e5, precision: rapid.Float64Range(0.001, 0.5).Draw(t, "precision")}
		steps := 0
		for rate := s.next(); rate > 0; rate = s.next() {
			if rate > s.max {
				t.Fatalf("tried %v, over the highest", rate)
			}
			if steps++; steps > 60 {
				t.Fatalf("no end: met %v, missed %v", s.met, s.missed)
			}
			s.tell(rate, rate <= limit)
		}
		switch {
		case limit >= s.max:
			if s.met != s.max || s.missed != 0 {
				t.Fatalf("met %v, missed %v", s.met, s.missed)
			}
		case s.met > limit || s.missed <= limit:
			t.Fatalf("%v is not from %v to %v", limit, s.met, s.missed)
		case s.met > 0 && s.missed/s.met > 1+s.precision:
			t.Fatalf("%v to %v is not precise to %v", s.met, s.missed, s.precision)
		}
	})
}

// queue is a backend that does one request at a time, each in 1 ms: it keeps up with up
// to 1,000 a second.
type queue struct{ free chan struct{} }

func (q queue) Do(ctx context.Context, deadline time.Time) (request.Answer, error) {
	<-q.free
	defer func() { q.free <- struct{}{} }()
	time.Sleep(time.Millisecond)
	if time.Now().After(deadline) {
		return request.Answer{}, context.DeadlineExceeded
	}
	return request.Answer{}, nil
}

func (queue) Close() {}

func TestRampFindsTheLimit(t *testing.T) {
	for _, test := range []struct {
		name      string
		first     float64
		highest   float64
		low, high float64
	}{
		// At 1,008 a second the backlog reaches the limit of 20 ms within a step's 2.5 s.
		{"from below", 100, 1e5, 950, 1008},
		{"from above", 3000, 1e5, 950, 1008},
		{"not reached", 100, 700, 700, 700},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				flags := NewRamp()
				flags.Limit, flags.MaxRate = 20*time.Millisecond, test.highest
				c, err := Config{Mode: probe.ModeHTTPNew, Targets: oneTarget, Rate: test.first, Sleep: time.Sleep, Ramp: flags.Wire(), Timeout: time.Minute}.withDefaults()
				require.NoError(t, err)
				q := queue{make(chan struct{}, 1)}
				q.free <- struct{}{}
				var out bytes.Buffer
				w := stream.NewWriter(&out)
				require.NoError(t, w.Session(t.Context(), probe.Start{}, c.args(time.Now()), func(ctx context.Context) (any, error) {
					return ramp(ctx, c, []request.Requester{q}, w)
				}))
				records, err := stream.Read(&out)
				require.NoError(t, err)
				end, err := probe.Decode[probe.End](records[len(records)-1])
				require.NoError(t, err)
				totals, err := probe.Decode[probe.RampTotals](probe.Record{Body: end.Totals})
				require.NoError(t, err)
				require.GreaterOrEqual(t, totals.HighestRate, test.low)
				require.LessOrEqual(t, totals.HighestRate, test.high)
				require.LessOrEqual(t, totals.ValueNS, int64(20*time.Millisecond))
				require.Equal(t, totals.Steps, len(records)-2)
				for _, record := range records[1 : len(records)-1] {
					step, err := probe.Decode[probe.LoadStep](record)
					require.NoError(t, err)
					require.Equal(t, step.Met, step.Rate <= 1008, "%+v", step.Why)
					require.EqualValues(t, step.Totals.OK-step.Totals.WarmupExcluded, step.Histograms[probe.HistogramResponse].Count)
				}
			})
		})
	}
}

func TestRampIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"limit":      func(c *Config) { c.Ramp.LimitNS = 0 },
		"percentile": func(c *Config) { c.Ramp.Percentile = 100 },
		"errors":     func(c *Config) { c.Ramp.MaxErrors = 2 },
		"rate":       func(c *Config) { c.Ramp.MaxRate = 1 },
		"step":       func(c *Config) { c.Ramp.StepNS = 0 },
		"precision":  func(c *Config) { c.Ramp.Precision = 0 },
		"count":      func(c *Config) { c.Count = 1 },
		"log":        func(c *Config) { c.HDRLog = &bytes.Buffer{} },
	} {
		t.Run(name, func(t *testing.T) {
			flags := NewRamp()
			flags.Limit = time.Millisecond
			c := Config{Mode: probe.ModeHTTPNew, Targets: oneTarget, Rate: 100, Ramp: flags.Wire()}
			change(&c)
			_, err := c.withDefaults()
			require.Error(t, err)
		})
	}
}

func TestRampInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flags := NewRamp()
		flags.Limit = 20 * time.Millisecond
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(6*time.Second, func() { cancel(stream.ErrStdinClosed) })
		var out bytes.Buffer
		require.NoError(t, Run(ctx, Config{
			Mode: probe.ModeHTTPNew, Targets: oneTarget, Rate: 10, Ramp: flags.Wire(), Sleep: time.Sleep, Dial: pipeServer(time.Now(), 0, 0),
		}, stream.NewWriter(&out)))
		records, err := stream.Read(&out)
		require.NoError(t, err)
		end, err := probe.Decode[probe.End](records[len(records)-1])
		require.NoError(t, err)
		require.Equal(t, probe.ReasonStdinClosed, end.Reason)
		totals, err := probe.Decode[probe.RampTotals](probe.Record{Body: end.Totals})
		require.NoError(t, err)
		require.True(t, totals.Interrupted)
		require.InDelta(t, 20, totals.HighestRate, 1e-9)
		require.Equal(t, 2, totals.Steps)
	})
}

func TestLogErrorIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("disk full")
		_, err := runLoad(t.Context(), t, Config{
			Mode: probe.ModeHTTPNew, Targets: oneTarget, Rate: 10, Count: 50, Sleep: time.Sleep, Dial: pipeServer(time.Now(), 0, 0),
			HDRLog: &failAfter{n: 6, err: broken},
		})
		require.ErrorIs(t, err, broken)
	})
}

// failAfter fails after n writes.
type failAfter struct {
	n   int
	err error
}

func (f *failAfter) Write(p []byte) (int, error) {
	if f.n--; f.n < 0 {
		return 0, f.err
	}
	return len(p), nil
}
