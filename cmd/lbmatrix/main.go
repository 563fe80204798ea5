// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Command lbmatrix proves that a bare-metal Kubernetes LoadBalancer works: it runs
// scenarios on real clusters and writes one matrix of what it saw on the wire.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/lbmatrix/lbmatrix/harness/guest/agent"
	"github.com/lbmatrix/lbmatrix/harness/guest/job"
	"github.com/lbmatrix/lbmatrix/harness/plan"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == plan.WorkerCommand {
		os.Exit(plan.WorkerMain(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if len(os.Args) > 1 && os.Args[1] == job.Command {
		os.Exit(agent.Main(ctx, os.Stderr))
	}
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program: testscript calls it in process.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return execute(ctx, &app{stdin: stdin, stdout: stdout, stderr: stderr, args: args})
}
