// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// Flags adds those that every command with this instrument has.
func (c *Config) Flags(f probe.Flags) {
	f.StringVar(&c.Mode, "mode", probe.ModeHTTPNew, "tcp-connect, http-new, http-keepalive or udp-echo")
	f.Float64Var(&c.Rate, "rate", 100, "requests per second over all targets; of a ramp the first")
	f.StringVar(&c.Schedule, "schedule", probe.ScheduleConstant, "constant or poisson")
	f.Uint64Var(&c.Seed, "seed", 1, "of a poisson schedule: the same one gives the same due times")
	f.Int64Var(&c.Warmup, "warmup", 0, "keep the first requests out of the histograms")
	f.DurationVar(&c.Timeout, "timeout", 2*time.Second, "of one request")
	f.DurationVar(&c.Late, "late", time.Millisecond, "a request sent later than this after it was due counts as late")
	f.IntVar(&c.MaxInFlight, "max-in-flight", 1024, "a request due with this many unfinished is not sent")
	f.IntVar(&c.Connections, "connections", 0, "requests at the same time, over all targets; further ones wait their turn, at most --timeout, and the wait counts; 0: as many as may be in flight")
	f.IntVar(&c.Payload, "payload", 32, "bytes of an udp-echo datagram")
	f.IntVar(&c.ResponseBytes, "response-bytes", 0, "ask for an http answer of this size; 0: the backend's identity")
}

// Flags adds those of a ramp.
func (f *RampFlags) Flags(flags probe.Flags) {
	flags.DurationVar(&f.Limit, "ramp-limit", 0, "search for the highest rate whose percentile stays within this; 0: no ramp")
	flags.Float64Var(&f.Percentile, "ramp-percentile", f.Percentile, "of the response time, over 0 to 100")
	flags.Float64Var(&f.MaxErrors, "ramp-errors", f.MaxErrors, "share of a step's requests that may fail")
	flags.Float64Var(&f.MaxRate, "ramp-max", f.MaxRate, "highest rate to try")
	flags.DurationVar(&f.Step, "ramp-step", f.Step, "how long each rate is tried")
	flags.DurationVar(&f.Warmup, "ramp-warmup", f.Warmup, "warm-up of each rate, before that")
	flags.Float64Var(&f.Precision, "ramp-precision", f.Precision, "end when the answer is known to this share of itself")
}
