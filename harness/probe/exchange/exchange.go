// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package exchange is the instrument for payloads: it sends datagrams of given sizes and
// asks for responses of given sizes, and holds every byte that comes back to what was due.
// Package load counts requests; this one sees what becomes of large ones.
package exchange

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/request"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// Config is one run.
type Config struct {
	Targets  []probe.ExchangeTarget
	Count    int           // exchanges with each target, over 0
	Interval time.Duration // between the starts of two exchanges; 0: one after the other
	Timeout  time.Duration // of one exchange; 2s when 0
	// FirstPort and LastPort bound the ports that datagrams are sent from, in turns; both 0:
	// the kernel chooses.
	FirstPort, LastPort int
	// Inside runs what opens a socket where it is to be opened; nil: in the namespace of the
	// process.
	Inside func(open func() error) error
}

// The sizes of an exchange: a datagram holds EchoPrefix and fits IPv4.
const (
	minDatagram = len(probe.EchoPrefix)
	maxDatagram = 65507
	maxResponse = 1 << 30
)

func (c Config) withDefaults() (Config, error) {
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second
	}
	if c.Inside == nil {
		c.Inside = func(open func() error) error { return open() }
	}
	if len(c.Targets) == 0 {
		return c, errors.New("no target")
	}
	if c.Count <= 0 || c.Interval < 0 || c.Timeout < 0 {
		return c, errors.New("count must be over 0, durations not negative")
	}
	if c.FirstPort < 0 || c.LastPort > 65535 || c.FirstPort > c.LastPort || (c.FirstPort == 0) != (c.LastPort == 0) {
		return c, fmt.Errorf("%d-%d is no range of ports", c.FirstPort, c.LastPort)
	}
	names := map[string]bool{}
	for _, t := range c.Targets {
		if t.Name == "" || names[t.Name] {
			return c, fmt.Errorf("target %q: names must be unique and not empty", t.Name)
		}
		names[t.Name] = true
		if _, _, err := net.SplitHostPort(t.Address); err != nil {
			return c, fmt.Errorf("target %s: %w", t.Name, err)
		}
		low, high := minDatagram, maxDatagram
		switch t.Protocol {
		case probe.ExchangeUDP:
		case probe.ExchangeAsk:
			low = 1
		case probe.ExchangeHTTP:
			low, high = 0, maxResponse
		default:
			return c, fmt.Errorf("target %s: unknown protocol %q", t.Name, t.Protocol)
		}
		if t.Bytes < low || t.Bytes > high {
			return c, fmt.Errorf("target %s: %d bytes are not %d to %d", t.Name, t.Bytes, low, high)
		}
	}
	return c, nil
}

// Run makes the exchanges and records each. One that fails is a fact, not an error. When
// the run is stopped from outside, what was not finished is not recorded.
func Run(ctx context.Context, c Config, w *stream.Writer) error {
	c, err := c.withDefaults()
	args := probe.ExchangeArgs{Targets: c.Targets, Count: c.Count, IntervalNS: c.Interval.Nanoseconds(), TimeoutNS: c.Timeout.Nanoseconds(), FirstPort: c.FirstPort, LastPort: c.LastPort}
	return w.Session(ctx, probe.Start{Instrument: "exchange"}, args, func(ctx context.Context) (any, error) {
		if err != nil {
			return nil, err // said inside the session, so that even this run has its end record
		}
		r := &run{config: c, out: w}
		err := r.all(ctx)
		return r.totals, err
	})
}

type run struct {
	config Config
	out    *stream.Writer

	mu     sync.Mutex
	totals probe.ExchangeTotals
	failed error
}

func (r *run) all(ctx context.Context) error {
	begin := time.Now()
	var open sync.WaitGroup
	defer open.Wait()
	for i := range r.config.Count * len(r.config.Targets) {
		if r.config.Interval == 0 {
			r.one(ctx, i)
		} else {
			select {
			case <-time.After(time.Until(begin.Add(time.Duration(i) * r.config.Interval))):
			case <-ctx.Done():
			}
			open.Go(func() { r.one(ctx, i) })
		}
		if err := r.err(ctx); err != nil {
			return err
		}
	}
	open.Wait()
	return r.err(ctx)
}

func (r *run) err(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		return r.failed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// one makes exchange i and records it.
func (r *run) one(ctx context.Context, i int) {
	t := r.config.Targets[i%len(r.config.Targets)]
	limited, cancel := context.WithTimeout(ctx, r.config.Timeout)
	defer cancel()
	result := probe.ExchangeResult{Target: t.Name, Number: i}
	start := time.Now()
	var err error
	if t.Protocol == probe.ExchangeHTTP {
		err = r.config.response(limited, t, &result)
	} else {
		err = r.config.datagram(limited, t, i, &result)
	}
	result.StartNS, result.DurationNS = start.UnixNano(), time.Since(start).Nanoseconds()
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		result.ErrorKind, result.Message = classify(err), err.Error()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.totals.Exchanges++
	if err == nil {
		r.totals.OK++
	}
	if r.failed == nil {
		r.failed = r.out.Emit(probe.KindExchange, result)
	}
}

// port is what datagram i is sent from, 0 where the kernel chooses.
func (c Config) port(i int) int {
	if c.FirstPort == 0 {
		return 0
	}
	return c.FirstPort + i%(c.LastPort-c.FirstPort+1)
}

// errWrongSource is wrapped by the errors of an answer that came from elsewhere.
var errWrongSource = errors.New("wrong source")

// errCorrupt is wrapped by the errors of an answer that is not what was due.
var errCorrupt = errors.New("corrupt")

func classify(err error) string {
	switch {
	case errors.Is(err, errCorrupt):
		return probe.ErrorCorrupt
	case errors.Is(err, errWrongSource):
		return probe.ErrorWrongSource
	case errors.Is(err, syscall.EMSGSIZE):
		return probe.ErrorTooLarge
	}
	return request.Classify(err)
}
