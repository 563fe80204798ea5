// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
	"github.com/lbmatrix/lbmatrix/harness/probe/capture"
	"github.com/lbmatrix/lbmatrix/harness/probe/forward"
	"github.com/lbmatrix/lbmatrix/harness/probe/idle"
	"github.com/lbmatrix/lbmatrix/harness/probe/load"
	"github.com/lbmatrix/lbmatrix/harness/probe/ndp"
	"github.com/lbmatrix/lbmatrix/harness/probe/serve"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// maxProbeRate bounds what a sweep of many addresses sends, in frames per second.
const maxProbeRate = 1000

func arpCommand(flags *flag.FlagSet) instrument {
	var c arp.Config
	flags.StringVar(&c.Interface, "interface", "eth0", "ask on this interface")
	flags.Func("target", "an IPv4 `address` to ask for; repeated, or separated by commas", parseAddrs(&c.Targets))
	flags.IntVar(&c.Count, "count", 5, "rounds; 0 is until stopped")
	flags.DurationVar(&c.Interval, "interval", 200*time.Millisecond, "time between rounds; the targets are spread within it")
	flags.Float64Var(&c.MaxRate, "max-rate", maxProbeRate, "frames per second at most: many targets lengthen the interval; 0 is no limit")
	flags.DurationVar(&c.Settle, "settle", time.Second, "listen for this long after the last probe")
	flags.BoolVar(&c.ProbeMode, "probe-mode", false, "ask from 0.0.0.0 (RFC 5227)")
	flags.Func("source", "ask from this IPv4 `address` (default: the interface's)", parseAddr(&c.Source))
	return func(ctx context.Context, w *stream.Writer) error { return arp.Run(ctx, c, w) }
}

func ndpCommand(flags *flag.FlagSet) instrument {
	var c ndp.Config
	flags.StringVar(&c.Interface, "interface", "eth0", "ask on this interface")
	flags.Func("target", "an IPv6 `address` to ask for; repeated, or separated by commas", parseAddrs(&c.Targets))
	flags.IntVar(&c.Count, "count", 5, "rounds; 0 is until stopped")
	flags.DurationVar(&c.Interval, "interval", 200*time.Millisecond, "time between rounds; the targets are spread within it")
	flags.Float64Var(&c.MaxRate, "max-rate", maxProbeRate, "frames per second at most: many targets lengthen the interval; 0 is no limit")
	flags.DurationVar(&c.Settle, "settle", time.Second, "listen for this long after the last probe")
	flags.Func("source", "ask from this IPv6 `address` (default: the interface's)", parseAddr(&c.Source))
	return func(ctx context.Context, w *stream.Writer) error { return ndp.Run(ctx, c, w) }
}

func loadCommand(flags *flag.FlagSet) instrument {
	var c load.Config
	c.Flags(flags)
	flags.Func("target", "`name=address:port`; repeated: request i goes to target i mod n", func(text string) error {
		name, address, ok := strings.Cut(text, "=")
		if !ok {
			return errors.New("want name=address:port")
		}
		c.Targets = append(c.Targets, probe.LoadTarget{Name: name, Address: address})
		return nil
	})
	flags.Int64Var(&c.Count, "count", 0, "requests over all targets; 0: by --duration")
	flags.DurationVar(&c.Duration, "duration", 0, "how long to send; with no --count either: until stopped")
	flags.DurationVar(&c.Drain, "drain", time.Second, "let requests in flight end for this long once stopped")
	flags.Func("source", "send from this `address`", parseAddr(&c.Source))
	log := flags.String("hdr-log", "", "write an HdrHistogram log of every second to this `file`")
	ramp := load.NewRamp()
	ramp.Flags(flags)
	return func(ctx context.Context, w *stream.Writer) error {
		if c.Count != 0 && c.Duration != 0 {
			return usageError{errors.New("--count and --duration exclude each other")}
		}
		c.Ramp = ramp.Wire()
		return withFile(*log, func(out io.Writer) error {
			c.HDRLog = out
			return load.Run(ctx, c, w)
		})
	}
}

// withFile runs work with a new file, or with nil where the name is empty.
func withFile(name string, work func(io.Writer) error) error {
	if name == "" {
		return work(nil)
	}
	file, err := os.Create(name)
	if err != nil {
		return usageError{err}
	}
	return errors.Join(work(file), file.Close())
}

func captureCommand(flags *flag.FlagSet) instrument {
	var c capture.Config
	flags.StringVar(&c.Interface, "interface", "eth0", "listen on this interface")
	flags.Func("address", "keep frames from or to this IPv4 `address`; repeated, or separated by commas", parseAddrs(&c.Addresses))
	flags.IntVar(&c.MaxBytes, "max-bytes", 8<<20, "of frames that are kept: the first half as they come, and the newest of the rest")
	return func(ctx context.Context, w *stream.Writer) error {
		if len(c.Addresses) == 0 {
			return usageError{errors.New("--address is needed")}
		}
		return capture.Run(ctx, c, w)
	}
}

func serveCommand(flags *flag.FlagSet) instrument {
	http := flags.String("http", ":8080", "serve HTTP on this `address`; empty is not")
	tcp := flags.String("tcp", ":8081", "serve TCP echo on this `address`; empty is not")
	udp := flags.String("udp", ":8080", "serve UDP echo on this `address`; empty is not")
	grace := flags.Duration("grace", 5*time.Second, "let open requests end for this long")
	return func(ctx context.Context, w *stream.Writer) error {
		c, err := serve.Listen(ctx, *http, *tcp, *udp)
		if err != nil {
			return failed(ctx, w, "serve", err)
		}
		c.Pod, c.Node, c.Grace = os.Getenv("POD_NAME"), os.Getenv("NODE_NAME"), *grace
		return serve.Run(ctx, c, w)
	}
}

func idleCommand(*flag.FlagSet) instrument {
	return func(ctx context.Context, w *stream.Writer) error {
		return idle.Run(ctx, idle.Config{Reap: os.Getpid() == 1}, w)
	}
}

func forwardCommand(flags *flag.FlagSet) instrument {
	fd := flags.Int("listen-fd", 3, "the inherited listening socket's `descriptor`")
	to := flags.String("to", "", "`host:port` to carry connections to")
	return func(ctx context.Context, w *stream.Writer) error {
		if *to == "" {
			return usageError{errors.New("--to is needed")}
		}
		listener, err := forward.Inherit(*fd)
		if err != nil {
			return failed(ctx, w, "forward", err)
		}
		return forward.Run(ctx, forward.Config{Listener: listener, To: *to}, w)
	}
}

// failed writes the stream of an instrument that could not be set up: a run has
// its end record whatever became of it.
func failed(ctx context.Context, w *stream.Writer, name string, err error) error {
	return w.Session(ctx, probe.Start{Instrument: name}, nil, func(context.Context) (any, error) { return nil, err })
}

func parseAddrs(to *[]netip.Addr) func(string) error {
	return func(text string) error {
		for field := range strings.SplitSeq(text, ",") {
			address, err := netip.ParseAddr(field)
			if err != nil {
				return fmt.Errorf("parse address: %w", err)
			}
			*to = append(*to, address)
		}
		return nil
	}
}

func parseAddr(to *netip.Addr) func(string) error {
	return func(text string) error {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("parse address: %w", err)
		}
		*to = address
		return nil
	}
}
