// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/plan"
)

// stopGrace is how long a worker gets to write down that it was interrupted.
const stopGrace = 3 * time.Second

// work runs a worker process to its end and hands its events on. When ctx ends the
// worker is asked to stop, then killed with everything it started.
func work(ctx context.Context, argv, env []string, c plan.Config, events func(plan.Event)) error {
	path := filepath.Join(c.Dir, plan.ConfigFile)
	if err := plan.WriteConfig(path, c); err != nil {
		return err
	}
	logFile, err := os.Create(filepath.Join(c.Dir, "worker.log"))
	if err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	defer logFile.Close()
	cmd := exec.Command(argv[0], append(argv[1:], path)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = logFile
	// A group of its own: Ctrl-C on the terminal reaches only the parent, which stops
	// the worker in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// Held open for as long as this process lives: its end tells the worker.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	finished := make(chan struct{})
	defer close(finished)
	go stop(ctx, cmd.Process.Pid, finished)
	forwardEvents(stdout, events)
	err = cmd.Wait()
	// Docker clients and forwarders of a worker that is gone have nothing left to do.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		return fmt.Errorf("worker of %s: %w; its log is %s", c.Scenario.Metadata.Name, err, logFile.Name())
	}
	return nil
}

// stop ends a worker's process group when ctx ends before the worker does.
func stop(ctx context.Context, pid int, finished <-chan struct{}) {
	select {
	case <-finished:
		return
	case <-ctx.Done():
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	select {
	case <-finished:
	case <-time.After(stopGrace):
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}

func forwardEvents(r io.Reader, events func(plan.Event)) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var ev plan.Event
		if json.Unmarshal(lines.Bytes(), &ev) == nil && events != nil {
			events(ev)
		}
	}
}
