// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"
)

// gracePeriod is how long a process has between SIGTERM and SIGKILL.
const gracePeriod = 2 * time.Second

// ProcessEntry describes a running process. It is the one kind that is recorded
// after it was made, for its pid is not known before; whoever starts one also sees
// to it that the process ends with its parent. The error is [os.ErrProcessDone] where it
// has ended and was waited for.
func ProcessEntry(name string, pid int) (Entry, error) {
	start, err := StartTime(pid)
	if err != nil {
		return Entry{}, fmt.Errorf("describe process %d (%s): %w", pid, name, err)
	}
	return Entry{Kind: Process, Name: name, PID: pid, StartTime: start}, nil
}

// StartTime reads when a process started, in clock ticks since boot.
func StartTime(pid int) (uint64, error) {
	_, start, err := stat(pid)
	return start, err
}

// stat reads a process' state letter and start time.
func stat(pid int) (state byte, start uint64, err error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, gone(err)
	}
	defer f.Close()
	return readStat(f)
}

// gone is err, or [os.ErrProcessDone] with it where that means that there is no such
// process any more: opening its file fails with ENOENT, and reading it with ESRCH where it
// ended in between.
func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%w: %w", os.ErrProcessDone, err)
	}
	return err
}

func readStat(f *os.File) (state byte, start uint64, err error) {
	data, err := io.ReadAll(f)
	if err != nil {
		return 0, 0, gone(err)
	}
	// The command name stands in parentheses and may hold spaces and parentheses of
	// its own: fields are counted from the last one.
	i := bytes.LastIndexByte(data, ')')
	if i < 0 {
		return 0, 0, fmt.Errorf("read %s: no command name", f.Name())
	}
	fields := bytes.Fields(data[i+1:])
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("read %s: %d fields", f.Name(), len(fields))
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return fields[0][0], start, nil
}

// alive reports whether the very process e describes still runs. A zombie does not.
func alive(e Entry) bool {
	state, start, err := stat(e.PID)
	return err == nil && start == e.StartTime && state != 'Z' && state != 'X'
}

// removeProcess ends the process e describes, never another one that was given
// its pid since.
func removeProcess(ctx context.Context, e Entry) error {
	if e.PID <= 1 || e.StartTime == 0 {
		return nil // it was never started
	}
	// The handle is a pidfd: taken first, it pins the process that is checked next.
	p, err := os.FindProcess(e.PID)
	if err != nil {
		return fmt.Errorf("find process %d: %w", e.PID, err)
	}
	defer func() { _ = p.Release() }() // nothing to do about it
	for _, step := range []struct {
		sig  os.Signal
		wait time.Duration
	}{{syscall.SIGTERM, gracePeriod}, {syscall.SIGKILL, gracePeriod}} {
		if !alive(e) {
			return nil
		}
		if err := p.Signal(step.sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("signal process %d: %w", e.PID, err)
		}
		if err := waitGone(ctx, e, step.wait); err != nil {
			return err
		}
	}
	if alive(e) {
		return fmt.Errorf("end process %d (%s): still there after SIGKILL", e.PID, e.Name)
	}
	return nil
}

func waitGone(ctx context.Context, e Entry, within time.Duration) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(within)
	for alive(e) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for process %d (%s) to end: %w", e.PID, e.Name, ctx.Err())
		case <-end:
			return nil
		case <-tick.C:
		}
	}
	return nil
}
