// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Command lbprobe runs one instrument where it was started: a network namespace,
// a container, a pod. It writes JSON lines to stdout (package probe) and is one
// static binary, so that it runs in an empty image.
//
// It exits with 0 when the stream is whole, whatever ended the run (the end
// record says), 1 when the run failed, and 2 on bad usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe/machine"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// command is one instrument. setup declares its flags and returns what runs it.
type command struct {
	name     string
	short    string
	service  bool          // runs until told to stop: stdin is not watched unless asked
	deadline time.Duration // default of --deadline; 0 is none
	setup    func(*flag.FlagSet) instrument
}

// instrument runs with its flags parsed. An error before the first record is
// bad usage when it is a usageError.
type instrument func(ctx context.Context, w *stream.Writer) error

type usageError struct{ error }

// timed tells which instruments measure time, and so may ask not to wait for a turn of
// the scheduler.
func (c command) timed() bool {
	return !c.service && c.name != "capture" && c.name != "forward"
}

func commands() []command {
	return []command{
		{"arp", "ask who has an address, and record everyone who answers", false, 5 * time.Minute, arpCommand},
		{"ndp", "the same for IPv6, with neighbour solicitations", false, 5 * time.Minute, ndpCommand},
		{"load", "send requests on a schedule, and measure them", false, 5 * time.Minute, loadCommand},
		{"exchange", "send large datagrams, ask for large responses, and check every byte", false, 5 * time.Minute, exchangeCommand},
		{"watch", "send several kinds of traffic side by side, and record when each failed", false, time.Hour, watchCommand},
		{"capture", "record the frames that open connections to addresses", false, 5 * time.Minute, captureCommand},
		{"serve", "be the backend: HTTP, TCP and UDP echo", true, 0, serveCommand},
		{"idle", "sleep until SIGTERM, reaping orphans as process 1", true, 0, idleCommand},
		{"forward", "carry TCP from an inherited listener to an address", false, 0, forwardCommand},
	}
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return 2
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(ctx, args[1:], stdin, stdout, stderr)
		}
	}
	if args[0] == flushName {
		return flush(args[1:], stdout, stderr)
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(stdout)
		return 0
	}
	fmt.Fprintf(stderr, "lbprobe: unknown instrument %q\n", args[0])
	usage(stderr)
	return 2
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: lbprobe INSTRUMENT [flags]; lbprobe INSTRUMENT --help lists the flags")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-11s %s\n", c.name, c.short)
	}
	fmt.Fprintf(w, "  %-11s %s\n", flushName, "drop the host's neighbour entries (no instrument: no records)")
}

func (c command) run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("lbprobe "+c.name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	start := c.setup(flags)
	deadline := flags.Duration("deadline", c.deadline, "end after this long at the latest; 0 is never")
	realtime := new(bool)
	if c.timed() {
		realtime = flags.Bool("realtime", false, "be scheduled before all else on this machine; where that is not allowed, run on without")
	}
	var watch func() bool
	if c.service {
		until := flags.Bool("until-stdin-eof", false, "end when stdin does")
		watch = func() bool { return *until }
	} else {
		mode := flags.String("stdin", "watch", "`watch`: end when stdin does; ignore: do not")
		watch = func() bool { return *mode != "ignore" }
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "lbprobe %s: unexpected argument %q\n", c.name, flags.Arg(0))
		return 2
	}
	if mode := flags.Lookup("stdin"); mode != nil && mode.Value.String() != "watch" && mode.Value.String() != "ignore" {
		fmt.Fprintf(stderr, "lbprobe %s: --stdin must be watch or ignore\n", c.name)
		return 2
	}
	if *realtime && !machine.Realtime() {
		if err := machine.MakeRealtime(); err != nil { // it returns for nothing else
			fmt.Fprintf(stderr, "lbprobe %s: %v\n", c.name, err)
		}
	}
	if !watch() {
		stdin = nil
	}
	ctx, stop := stream.Lifetime(ctx, stdin, *deadline)
	defer stop()
	err := start(ctx, stream.NewWriter(stdout))
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "lbprobe %s: %v\n", c.name, err)
	if errors.As(err, new(usageError)) {
		return 2
	}
	return 1
}
