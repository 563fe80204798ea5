// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/machine"
	"github.com/lbmatrix/lbmatrix/harness/probe/request"
)

// DialFunc opens a connection.
type DialFunc = request.DialFunc

// Config is one run. Zero fields take the defaults named.
type Config struct {
	Mode          string              // a probe.Mode constant
	Targets       []probe.LoadTarget  // request i goes to target i mod len: they are measured side by side
	Rate          float64             // requests per second over all targets, over 0 to 1e6
	Schedule      string              // a probe.Schedule constant; constant
	Seed          uint64              // of a Poisson schedule
	Count         int64               // requests over all targets; 0: by Duration
	Duration      time.Duration       // used when Count is 0; both 0: until stopped
	Warmup        int64               // the first requests, kept out of the histograms but in all counts
	Timeout       time.Duration       // of one request from its send; 2s
	Late          time.Duration       // 1ms
	MaxInFlight   int                 // 1024
	Connections   int                 // requests at the same time, at most MaxInFlight; others wait their turn, which counts. MaxInFlight
	Payload       int                 // bytes of an udp-echo datagram, 1 to 65507; 32
	ResponseBytes int                 // of an http answer, 0 to 1 GiB; 0: the backend's identity
	Source        netip.Addr          // our own address; zero: the kernel's choice
	Bucket        time.Duration       // 100ms
	Drain         time.Duration       // for unfinished requests once stopped from outside; 1s
	Ramp          *probe.Ramp         // search for the highest rate, from Rate on, instead of one run
	HDRLog        io.Writer           // gets an HdrHistogram V2 log of interval histograms; nil: none
	HDRInterval   time.Duration       // of that log; 1s
	Sleep         func(time.Duration) // sleeps of below 2 ms; nil: the thread's own, precise to some microseconds
	Dial          DialFunc            // how to connect; nil: from the namespace of the process, bound to Source
}

// maxResponse is what serve gives at most: 1 GiB.
const maxResponse = 1 << 30

// withDefaults fills in and checks.
func (c Config) withDefaults() (Config, error) {
	c.Timeout = orDefault(c.Timeout, 2*time.Second)
	c.Late = orDefault(c.Late, time.Millisecond)
	c.Bucket = orDefault(c.Bucket, 100*time.Millisecond)
	c.Drain = orDefault(c.Drain, time.Second)
	c.HDRInterval = orDefault(c.HDRInterval, time.Second)
	c.MaxInFlight = orDefault(c.MaxInFlight, 1024)
	c.Connections = orDefault(c.Connections, c.MaxInFlight)
	c.Payload = orDefault(c.Payload, 32)
	c.Schedule = orDefault(c.Schedule, probe.ScheduleConstant)
	if err := c.checkTargets(); err != nil {
		return c, err
	}
	switch {
	case c.Schedule != probe.ScheduleConstant && c.Schedule != probe.SchedulePoisson:
		return c, fmt.Errorf("unknown schedule %q", c.Schedule)
	case !(c.Rate > 0 && c.Rate <= maxRate): // also refuses NaN
		return c, fmt.Errorf("rate %v is not over 0 to 1e6 requests per second", c.Rate)
	case c.Count < 0 || c.Duration < 0 || c.Warmup < 0 || c.MaxInFlight < 0 || c.Connections < 0 || c.Timeout < 0 || c.Late < 0 || c.Drain < 0 || c.HDRInterval < 0:
		return c, errors.New("counts and durations must not be negative")
	case c.Connections > c.MaxInFlight:
		return c, fmt.Errorf("%d connections are more than the %d requests that may be unfinished", c.Connections, c.MaxInFlight)
	case c.Bucket < time.Millisecond:
		return c, errors.New("bucket must be at least 1ms")
	case c.Payload < 1 || c.Payload > 65507:
		return c, fmt.Errorf("payload of %d bytes is not 1 to 65507", c.Payload)
	case c.ResponseBytes < 0 || c.ResponseBytes > maxResponse:
		return c, fmt.Errorf("response of %d bytes is not 0 to %d", c.ResponseBytes, maxResponse)
	case c.ResponseBytes > 0 && c.Mode != probe.ModeHTTPNew && c.Mode != probe.ModeHTTPKeepalive:
		return c, fmt.Errorf("mode %s has no response of a size of our choice", c.Mode)
	}
	if c.Ramp != nil {
		return c, c.checkRamp()
	}
	if c.Count == 0 && c.Duration > 0 && c.Schedule == probe.ScheduleConstant {
		c.Count = Schedule{Rate: c.Rate}.CountFor(c.Duration)
	}
	if c.Count > 0 {
		c.Duration = 0 // the count says it
	}
	return c, nil
}

func (c Config) checkTargets() error {
	if len(c.Targets) == 0 {
		return errors.New("no target")
	}
	names := map[string]bool{}
	for _, target := range c.Targets {
		if _, _, err := net.SplitHostPort(target.Address); err != nil {
			return fmt.Errorf("target %s: %w", target.Name, err)
		}
		if target.Name == "" || names[target.Name] {
			return fmt.Errorf("target %q: names must be unique and not empty", target.Name)
		}
		if c.HDRLog != nil && strings.ContainsAny(target.Name, ", \r\n") {
			return fmt.Errorf("target %q: a tag of an HdrHistogram log has no comma, space or line break", target.Name)
		}
		names[target.Name] = true
	}
	return nil
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// requesters makes one requester for each target.
func (c Config) requesters() ([]request.Requester, error) {
	var out []request.Requester
	for _, target := range c.Targets {
		r, err := request.New(request.Config{
			Mode: c.Mode, Address: target.Address, Payload: c.Payload, ResponseBytes: c.ResponseBytes, Source: c.Source, Dial: c.Dial,
		})
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

func (c Config) args(start time.Time) probe.LoadArgs {
	source := ""
	if c.Source.IsValid() {
		source = c.Source.String()
	}
	return probe.LoadArgs{
		Mode: c.Mode, Targets: c.Targets, Rate: c.Rate, Count: c.Count, Warmup: c.Warmup,
		TimeoutNS: c.Timeout.Nanoseconds(), LateNS: c.Late.Nanoseconds(), MaxInFlight: c.MaxInFlight, Connections: c.Connections,
		PayloadBytes: c.Payload, Source: source, StartNS: start.UnixNano(), BucketMS: int(c.Bucket.Milliseconds()),
		LoadShape: probe.LoadShape{
			Schedule: c.Schedule, Seed: c.Seed, DurationNS: c.Duration.Nanoseconds(), ResponseBytes: c.ResponseBytes, Ramp: c.Ramp,
			Realtime: machine.Realtime(),
		},
	}
}
