// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/cluster/kind"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
)

// WorkerCommand is the first argument that makes a binary be a worker. Every binary
// that executes scenarios, a test binary too, hands its arguments to [WorkerMain]
// when it sees it.
const WorkerCommand = "lbmatrix-worker"

// cleanArgument makes a worker clean one ledger instead.
const cleanArgument = "--clean"

// errOrphaned is the end of a worker's parent.
var errOrphaned = errors.New("the parent process is gone")

// WorkerMain is the main function of a worker: args are a configuration's path. It
// returns an exit code: 0 when the journal is whole, whatever is in it.
//
// The parent holds the worker's stdin open. When that ends without a SIGTERM, the
// parent was killed and nobody will clean up: the worker then turns itself into a
// cleaner of its own ledger.
func WorkerMain(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 2 && args[0] == cleanArgument {
		return cleanMain(args[1], stderr)
	}
	if len(args) != 1 {
		fmt.Fprintln(stderr, "worker: want the path of a configuration; workers are started by lbmatrix run")
		return 2
	}
	c, err := ReadConfig(args[0])
	if err != nil {
		fmt.Fprintln(stderr, "worker:", err)
		return 3
	}
	// Events go to the parent: when it is gone a write must fail, not end this process
	// before it has cleaned up. Not Ignore, which children would inherit.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel(errOrphaned)
	}()
	err = Work(ctx, c, stdout, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "worker:", err)
	}
	if errors.Is(context.Cause(ctx), errOrphaned) {
		become(c, stderr)
	}
	if err != nil {
		return 3
	}
	return 0
}

// become replaces this process, with everything that still runs in it, by a cleaner.
// The ledger's lock is closed on exec, so it is free then.
func become(c Config, stderr io.Writer) {
	self, err := os.Executable()
	if err == nil {
		err = syscall.Exec("/proc/self/exe", []string{self, WorkerCommand, cleanArgument, ledgerPath(c)}, os.Environ())
	}
	fmt.Fprintln(stderr, "worker: turn into a cleaner:", err)
}

func ledgerPath(c Config) string { return ledger.Path(c.LedgerDir, LedgerName(c)) }

// LedgerName names a worker's ledger.
func LedgerName(c Config) string { return c.RunID + "-" + c.Scenario.Metadata.Name }

func cleanMain(path string, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if _, err := ledger.CleanOne(ctx, path, kind.Remover(), nil); err != nil {
		fmt.Fprintln(stderr, "worker: clean up after the parent was killed:", err)
		return 3
	}
	return 0
}
