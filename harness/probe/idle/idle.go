// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package idle is the main process of the client and observer containers: it
// does nothing, and reaps what the commands run there leave behind.
package idle

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// Config is one idle process.
type Config struct {
	// Reap waits for orphaned children, as process 1 must. In any other process
	// it would take the exit status of children from who started them.
	Reap bool
}

// Run sleeps until ctx ends.
func Run(ctx context.Context, c Config, w *stream.Writer) error {
	return w.Session(ctx, probe.Start{Instrument: "idle"}, nil, func(ctx context.Context) (any, error) {
		exited := make(chan os.Signal, 1)
		if c.Reap {
			signal.Notify(exited, syscall.SIGCHLD)
			defer signal.Stop(exited)
			reap() // who exited before we listened
		}
		for {
			select {
			case <-exited:
				reap()
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	})
}

// reap takes every child that has exited: one signal may stand for many.
func reap() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if pid <= 0 && !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}
