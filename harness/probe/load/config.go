// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// DialFunc opens a connection, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Config is one run. Zero fields take the defaults named.
type Config struct {
	Mode        string              // a probe.Mode constant
	Targets     []probe.LoadTarget  // request i goes to target i mod len: they are measured side by side
	Rate        float64             // requests per second over all targets, over 0 to 1e6
	Count       int64               // requests over all targets; 0: by Duration
	Duration    time.Duration       // used when Count is 0; both 0: until stopped
	Warmup      int64               // the first requests, kept out of the histograms but in all counts
	Timeout     time.Duration       // of one request from its send; 2s
	Late        time.Duration       // 1ms
	MaxInFlight int                 // 1024
	Payload     int                 // bytes of an udp-echo datagram, 1 to 65507; 32
	Source      netip.Addr          // our own address; zero: the kernel's choice
	Bucket      time.Duration       // 100ms
	Drain       time.Duration       // for unfinished requests once stopped from outside; 1s
	Sleep       func(time.Duration) // sleeps of below 2 ms; nil: the thread's own, precise to some microseconds
	Dial        DialFunc            // how to connect; nil: from the namespace of the process, bound to Source
}

// withDefaults fills in and checks.
func (c Config) withDefaults() (Config, error) {
	c.Timeout = orDuration(c.Timeout, 2*time.Second)
	c.Late = orDuration(c.Late, time.Millisecond)
	c.Bucket = orDuration(c.Bucket, 100*time.Millisecond)
	c.Drain = orDuration(c.Drain, time.Second)
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 1024
	}
	if c.Payload == 0 {
		c.Payload = 32
	}
	if c.Dial == nil {
		c.Dial = dialer(c.Source)
	}
	names := map[string]bool{}
	for _, target := range c.Targets {
		if _, _, err := net.SplitHostPort(target.Address); err != nil {
			return c, fmt.Errorf("target %s: %w", target.Name, err)
		}
		if target.Name == "" || names[target.Name] {
			return c, fmt.Errorf("target %q: names must be unique and not empty", target.Name)
		}
		names[target.Name] = true
	}
	switch c.Mode {
	case probe.ModeTCPConnect, probe.ModeHTTPNew, probe.ModeHTTPKeepalive, probe.ModeUDPEcho:
	default:
		return c, fmt.Errorf("unknown mode %q", c.Mode)
	}
	switch {
	case len(c.Targets) == 0:
		return c, errors.New("no target")
	case !(c.Rate > 0 && c.Rate <= 1e6): // also refuses NaN
		return c, fmt.Errorf("rate %v is not over 0 to 1e6 requests per second", c.Rate)
	case c.Count < 0 || c.Duration < 0 || c.Warmup < 0 || c.MaxInFlight < 0 || c.Timeout < 0 || c.Late < 0 || c.Drain < 0:
		return c, errors.New("counts and durations must not be negative")
	case c.Bucket < time.Millisecond:
		return c, errors.New("bucket must be at least 1ms")
	case c.Payload < 1 || c.Payload > 65507:
		return c, fmt.Errorf("payload of %d bytes is not 1 to 65507", c.Payload)
	}
	if c.Count == 0 && c.Duration > 0 {
		c.Count = Schedule{Rate: c.Rate}.CountFor(c.Duration)
	}
	return c, nil
}

func orDuration(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func (c Config) args(start time.Time) probe.LoadArgs {
	source := ""
	if c.Source.IsValid() {
		source = c.Source.String()
	}
	return probe.LoadArgs{
		Mode: c.Mode, Targets: c.Targets, Rate: c.Rate, Count: c.Count, Warmup: c.Warmup,
		TimeoutNS: c.Timeout.Nanoseconds(), LateNS: c.Late.Nanoseconds(), MaxInFlight: c.MaxInFlight,
		PayloadBytes: c.Payload, Source: source, StartNS: start.UnixNano(), BucketMS: int(c.Bucket.Milliseconds()),
	}
}
