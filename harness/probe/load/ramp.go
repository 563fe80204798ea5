// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/latency"
	"github.com/lbmatrix/lbmatrix/harness/probe/machine"
	"github.com/lbmatrix/lbmatrix/harness/probe/request"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// maxRate is the highest rate that may be asked for.
const maxRate = 1e6

// rampAttempts is how often a rate must miss the limit to be missed: a machine that is
// shared stops now and then for reasons that are not its load.
const rampAttempts = 2

// RampFlags are a ramp's parameters as a command line gives them.
type RampFlags struct {
	Limit        time.Duration // of the response time; 0: no ramp
	Percentile   float64       // over 0 to 100
	MaxErrors    float64       // share, 0 to 1
	MaxRate      float64       // requests per second
	Step, Warmup time.Duration
	Precision    float64 // share
}

// NewRamp returns the defaults.
func NewRamp() RampFlags {
	return RampFlags{Percentile: 99, MaxRate: 200e3, Step: 2 * time.Second, Warmup: 500 * time.Millisecond, Precision: 0.05}
}

// Wire is the ramp they ask for, or nil.
func (f RampFlags) Wire() *probe.Ramp {
	if f.Limit == 0 {
		return nil
	}
	return &probe.Ramp{
		LimitNS: f.Limit.Nanoseconds(), Percentile: f.Percentile, MaxErrors: f.MaxErrors, MaxRate: f.MaxRate,
		StepNS: f.Step.Nanoseconds(), WarmupNS: f.Warmup.Nanoseconds(), Precision: f.Precision,
	}
}

func (c Config) checkRamp() error {
	r := c.Ramp
	switch {
	case c.Count != 0 || c.Duration != 0 || c.Warmup != 0:
		return errors.New("a ramp has steps: no count, duration or warm-up of requests")
	case c.HDRLog != nil:
		return errors.New("a ramp has no histogram of all of its rates, and so no hdr log")
	case r.LimitNS <= 0:
		return errors.New("ramp: the limit must be over 0")
	case !(r.Percentile > 0 && r.Percentile < 100):
		return fmt.Errorf("ramp: percentile %v is not between 0 and 100", r.Percentile)
	case !(r.MaxErrors >= 0 && r.MaxErrors <= 1):
		return fmt.Errorf("ramp: share of errors %v is not 0 to 1", r.MaxErrors)
	case !(r.MaxRate >= c.Rate && r.MaxRate <= maxRate):
		return fmt.Errorf("ramp: highest rate %v is not from the first rate, %v, to 1e6", r.MaxRate, c.Rate)
	case r.StepNS <= 0 || r.WarmupNS < 0:
		return errors.New("ramp: a step must last, and its warm-up must not be negative")
	case !(r.Precision > 0 && r.Precision < 1):
		return fmt.Errorf("ramp: precision %v is not between 0 and 1", r.Precision)
	}
	return nil
}

// search is a ramp's state: the answer lies from met to missed.
type search struct {
	first, max, precision float64
	met, missed           float64 // 0: none yet
}

// next is the rate to try, or 0 when the answer is known well enough: doubling while
// nothing was missed, halving while nothing was met, and then the geometric mean.
func (s *search) next() float64 {
	switch {
	case s.met == 0 && s.missed == 0:
		return s.first
	case s.missed == 0 && s.met >= s.max:
		return 0
	case s.missed == 0:
		return min(2*s.met, s.max)
	case s.met == 0 && s.missed < 1:
		return 0 // not one request per second
	case s.met == 0:
		return s.missed / 2
	case s.missed/s.met <= 1+s.precision:
		return 0
	default:
		return math.Sqrt(s.met * s.missed)
	}
}

func (s *search) tell(rate float64, met bool) {
	if met {
		s.met = rate
	} else {
		s.missed = rate
	}
}

// ramp tries rates until the highest that keeps to the limit is known. Each step is a
// run of its own, warmed up, with the connections of the steps before.
func ramp(ctx context.Context, c Config, requesters []request.Requester, w *stream.Writer) (probe.RampTotals, error) {
	s := search{first: c.Rate, max: c.Ramp.MaxRate, precision: c.Ramp.Precision}
	before := machine.ReadCPU()
	var totals probe.RampTotals
	var failed error
	for rate := s.next(); rate > 0 && failed == nil; rate = s.next() {
		var met bool
		for attempt := 0; attempt < rampAttempts && !met && failed == nil; attempt++ {
			var step probe.LoadStep
			step, failed = rampStep(ctx, c, rate, requesters)
			if failed != nil {
				break
			}
			step.Step = totals.Steps
			totals.Steps++
			if met = step.Met; met {
				totals.ValueNS = step.ValueNS
			}
			failed = w.Emit(probe.KindLoadStep, step)
		}
		if failed == nil {
			s.tell(rate, met)
		}
	}
	totals.HighestRate, totals.LowestMissed = s.met, s.missed
	totals.Interrupted = failed != nil
	totals.StealRatio = before.StealRatio(machine.ReadCPU())
	return totals, failed
}

// rampStep runs one rate.
func rampStep(ctx context.Context, c Config, rate float64, requesters []request.Requester) (probe.LoadStep, error) {
	r := c.Ramp
	c.Rate = rate
	c.Warmup = Schedule{Rate: rate}.CountFor(time.Duration(r.WarmupNS))
	c.Duration = time.Duration(r.WarmupNS + r.StepNS)
	if c.Schedule == probe.ScheduleConstant {
		c.Count, c.Duration = Schedule{Rate: rate}.CountFor(c.Duration), 0
	}
	start := time.Now()
	recorder := newRecorder(c, func(string, any) error { return nil }, start)
	totals, err := (&generator{config: c, start: start, requesters: requesters, recorder: recorder}).run(ctx)
	if err != nil {
		return probe.LoadStep{}, err
	}
	step := probe.LoadStep{
		Rate: rate, StartNS: start.UnixNano(), ElapsedNS: time.Since(start).Nanoseconds(),
		Totals: totals, Histograms: map[string]probe.LoadHistogram{},
	}
	for _, name := range histogramNames() {
		all := latency.New()
		for _, t := range recorder.targets {
			all.Merge(t.histograms[name])
		}
		if name == probe.HistogramResponse {
			step.ValueNS = all.Percentile(r.Percentile)
		}
		if step.Histograms[name], err = all.Body("", name); err != nil {
			return step, err
		}
	}
	step.Why = missed(totals, step.ValueNS, *r)
	step.Met = step.Why == ""
	return step, nil
}

// missed says what of a ramp's limits a step did not keep; empty is nothing.
func missed(t probe.LoadTotals, valueNS int64, r probe.Ramp) string {
	switch {
	case t.Dropped > 0:
		return fmt.Sprintf("%d of %d requests were not sent: too many unfinished", t.Dropped, t.Scheduled)
	case t.OK == 0:
		return "no request succeeded"
	case float64(t.Errors) > r.MaxErrors*float64(t.Completed):
		return fmt.Sprintf("%d of %d requests failed", t.Errors, t.Completed)
	case valueNS > r.LimitNS:
		return fmt.Sprintf("p%v is %s, limit %s", r.Percentile, time.Duration(valueNS), time.Duration(r.LimitNS))
	default:
		return ""
	}
}
