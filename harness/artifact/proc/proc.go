// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package proc starts child processes that end with their context, children of
// their own included.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// grace is how long a process group may take to end after SIGTERM before it is
// killed: debootstrap and apt remove their lock files in that time.
const grace = 5 * time.Second

// tailBytes is how much of a failed command's output its error carries.
const tailBytes = 2048

// Command is exec.CommandContext for programs that start others (go build,
// debootstrap, apt-get): the program leads a process group of its own, and when
// ctx ends the whole group gets SIGTERM and, after a grace period, SIGKILL.
//
// The program itself is killed when this process ends, even by SIGKILL: a docker
// command that goes on would make what the next run has just cleaned up. Set
// SysProcAttr.Pdeathsig to 0 for a program that must not be torn off.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error {
		group := -cmd.Process.Pid
		err := syscall.Kill(group, syscall.SIGTERM)
		go killAfter(group, grace)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	cmd.WaitDelay = grace + time.Second
	return cmd
}

// killAfter kills what is left of a process group when the grace period is over, and
// lets go of its number as soon as nothing is left: another group may get it.
func killAfter(group int, grace time.Duration) {
	for deadline := time.Now().Add(grace); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if errors.Is(syscall.Kill(group, 0), syscall.ESRCH) {
			return
		}
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
}

// Run runs cmd and returns its trimmed standard output. The error carries the
// command line and the end of what it wrote to standard error; where cmd.Stderr
// was set already it receives the same.
func Run(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	tail := &Tail{}
	if cmd.Stderr == nil {
		cmd.Stderr = tail
	} else {
		cmd.Stderr = io.MultiWriter(cmd.Stderr, tail)
	}
	if err := runToTheEnd(cmd); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("run %s: %w", Line(cmd.Args), context.Cause(ctx))
		}
		text := tail.String()
		if text == "" {
			text = last(strings.TrimSpace(out.String()))
		}
		return "", fmt.Errorf("run %s: %w: %s", Line(cmd.Args), err, text)
	}
	return strings.TrimSpace(out.String()), nil
}

// runToTheEnd runs cmd on a thread of its own: Pdeathsig fires when the thread that
// forked ends, so that thread must stay until the child has ended.
func runToTheEnd(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- cmd.Run()
	}()
	return <-done
}

// Line is a command line short enough for an error message.
func Line(args []string) string {
	line := strings.Join(args, " ")
	if len(line) > 200 {
		line = line[:200] + "..."
	}
	return line
}

// Tail keeps the end of what is written to it.
type Tail struct{ buf []byte }

// Write never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*tailBytes {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailBytes:]...)
	}
	return len(p), nil
}

// String is the end of the text, at most 2048 bytes of it.
func (t *Tail) String() string { return last(strings.TrimSpace(string(t.buf))) }

func last(s string) string {
	if len(s) > tailBytes {
		s = "..." + s[len(s)-tailBytes:]
	}
	return s
}
