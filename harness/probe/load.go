// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package probe

// The schedules of the load instrument.
const (
	ScheduleConstant = "constant" // request i is due at start + i / rate
	SchedulePoisson  = "poisson"  // the gaps are independent and exponential with mean 1 / rate
)

// LoadShape is the part of LoadArgs that says how the requests are spread and what they
// are. Zero values are what older instruments did.
type LoadShape struct {
	Schedule      string `json:"schedule,omitempty"`      // a Schedule constant; empty is constant
	Seed          uint64 `json:"seed,omitempty"`          // of a Poisson schedule: the same seed gives the same due times
	DurationNS    int64  `json:"durationNS,omitempty"`    // requests due before this, from the start, are sent; 0: all of LoadArgs.Count
	ResponseBytes int    `json:"responseBytes,omitempty"` // of an http answer; 0: the identity
	Realtime      bool   `json:"realtime,omitempty"`      // the client was scheduled before everything that is not realtime
	Ramp          *Ramp  `json:"ramp,omitempty"`          // the run is a search for the highest rate; LoadArgs.Rate is that of its first step
}

// HistogramLateness is a third histogram of the load instrument: from the due time to
// the actual send, of every request sent after the warm-up, whatever became of it. It
// measures the client, not what it asked, unless LoadArgs.Connections has requests wait for
// one another.
const HistogramLateness = "lateness"

// Ramp is a search for the highest rate whose percentile stays within a limit.
type Ramp struct {
	LimitNS    int64   `json:"limitNS"`    // of the response time at Percentile
	Percentile float64 `json:"percentile"` // over 0 to 100
	MaxErrors  float64 `json:"maxErrors"`  // share of a step's requests that may fail, 0 to 1
	MaxRate    float64 `json:"maxRate"`    // requests per second
	StepNS     int64   `json:"stepNS"`     // how long a step sends, warm-up excluded
	WarmupNS   int64   `json:"warmupNS"`   // how long it sends before that
	Precision  float64 `json:"precision"`  // the search ends when the answer is known to this share of itself
}

// KindLoadStep is a record of a ramp.
const KindLoadStep = "load.step" // LoadStep

// LoadStep is one rate that a ramp tried. Errors of a step are counted, not recorded
// one by one: the steps beyond the limit would be nothing else.
type LoadStep struct {
	Step       int                      `json:"step"` // from 0
	Rate       float64                  `json:"rate"` // requests per second that were due
	StartNS    int64                    `json:"startNS"`
	ElapsedNS  int64                    `json:"elapsedNS"` // until the last request ended
	Met        bool                     `json:"met"`
	Why        string                   `json:"why,omitempty"` // what was not met, the first reason
	ValueNS    int64                    `json:"valueNS"`       // the response time at the ramp's percentile; 0 without a success
	Totals     LoadTotals               `json:"totals"`
	Histograms map[string]LoadHistogram `json:"histograms"` // by name, over all targets
}

// RampTotals is End.Totals of a ramp.
type RampTotals struct {
	Steps        int     `json:"steps"`
	HighestRate  float64 `json:"highestRate"`           // the highest that met the limit; 0 is none
	LowestMissed float64 `json:"lowestMissed"`          // the lowest that did not; 0 is none: the limit lies above Ramp.MaxRate
	ValueNS      int64   `json:"valueNS"`               // the percentile at HighestRate
	StealRatio   float64 `json:"stealRatio,omitempty"`  // as in LoadTotals, over all steps
	Interrupted  bool    `json:"interrupted,omitempty"` // ended before the precision was reached
}
