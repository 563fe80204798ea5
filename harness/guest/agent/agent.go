// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package agent is the part of lbmatrix that runs inside a guest: it measures how slow the
// guest is, runs the command it was given, and writes the results to their disk.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/guest/job"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
	"github.com/lbmatrix/lbmatrix/harness/pace"
)

// Places are where an agent finds and leaves things.
type Places struct {
	Carried string    // folder: the job, the programs, the artifacts
	Work    string    // folder: the command's working folder
	Events  io.Writer // to the host
	Results io.Writer // the archive goes there
	Uptime  string    // file: /proc/uptime
	Release string    // file: /proc/sys/kernel/osrelease
}

// attempts is how often a guest measures itself. It has nothing else to do yet.
const attempts = 2

// Main does the job of the guest this process runs in and returns an exit code, which
// nobody but the serial log will see.
func Main(ctx context.Context, stderr io.Writer) int {
	fail := func(err error) int {
		fmt.Fprintln(stderr, "lbmatrix-guest:", err)
		return 3
	}
	events, err := os.OpenFile(job.EventLine, os.O_WRONLY|syscall.O_NOCTTY, 0)
	if err != nil {
		return fail(err)
	}
	defer events.Close()
	disk, err := os.OpenFile(job.ResultDisk, os.O_WRONLY, 0)
	if err != nil {
		return fail(err)
	}
	err = Run(ctx, Places{
		Carried: job.Carried, Work: job.Work, Events: events, Results: disk, Uptime: "/proc/uptime", Release: "/proc/sys/kernel/osrelease",
	})
	if err = errors.Join(err, disk.Sync(), disk.Close()); err != nil {
		_ = job.NewWriter(events).Send(job.Event{Type: job.Trouble, Text: err.Error()}) // the log has it, too
		return fail(err)
	}
	if err := job.NewWriter(events).Send(job.Event{Type: job.Packed}); err != nil {
		return fail(err)
	}
	return 0
}

// Run does the job that lies in p.Carried.
func Run(ctx context.Context, p Places) error {
	events := job.NewWriter(p.Events)
	j, err := job.Read(p.Carried)
	if err != nil {
		return err
	}
	r := job.Report{Place: job.Place{Accelerator: j.Accelerator, Slowdown: 1}}
	if r.Pace, err = pace.Measure(ctx, attempts); err != nil {
		return err
	}
	if j.HostPace > 0 {
		r.Slowdown = max(1, float64(r.Pace)/float64(j.HostPace))
	}
	release, err := os.ReadFile(p.Release)
	if err != nil {
		return fmt.Errorf("read kernel release: %w", err)
	}
	r.Kernel = strings.TrimSpace(string(release))
	if r.Limit = j.Limit; r.Limit == 0 {
		r.Limit = pace.Stretch(j.Allowance, r.Slowdown)
	}
	if r.UpToWork, err = uptime(p.Uptime); err != nil {
		return err
	}
	if err := events.Send(job.Event{Type: job.Ready, Slowdown: r.Slowdown, Limit: r.Limit}); err != nil {
		return err
	}
	if err := prepare(p); err != nil {
		return err
	}
	if err := command(ctx, p, j, &r, events); err != nil {
		return err
	}
	if err := events.Send(job.Event{Type: job.Exit, Code: r.Code, Killed: r.Killed}); err != nil {
		return err
	}
	return job.Pack(p.Results, filepath.Join(p.Work, job.ResultsDir), r)
}

// prepare makes the working folder from what was brought along.
func prepare(p Places) error {
	if err := os.MkdirAll(p.Work, 0o755); err != nil {
		return fmt.Errorf("make working folder: %w", err)
	}
	from := filepath.Join(p.Carried, job.WorkDir)
	if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := os.CopyFS(p.Work, os.DirFS(from)); err != nil {
		return fmt.Errorf("make working folder: %w", err)
	}
	return nil
}

// stopGrace is how long a command that is ended at its limit may take to write down what
// it has, on a machine like the host.
const stopGrace = 5 * time.Second

// command runs lbmatrix to its end, or to its limit.
func command(ctx context.Context, p Places, j job.Job, r *job.Report, events *job.Writer) error {
	place, err := json.Marshal(r.Place)
	if err != nil {
		return fmt.Errorf("run command: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, r.Limit)
	defer cancel()
	bin := filepath.Join(p.Carried, job.Binaries)
	cmd := exec.CommandContext(limited, filepath.Join(bin, "lbmatrix"), j.Args...)
	cmd.Dir = p.Work
	cmd.Env = append(os.Environ(),
		"PATH="+bin+":"+os.Getenv("PATH"), job.HereEnv+"="+string(place), "LBMATRIX_CACHE="+filepath.Join(p.Carried, job.CacheDir),
		ledger.StateEnv+"="+filepath.Join(p.Work, ".state"))
	cmd.Stdout, cmd.Stderr = events.Stream("stdout"), events.Stream("stderr")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = pace.Stretch(stopGrace, r.Slowdown)
	began := time.Now()
	err = cmd.Run()
	r.Elapsed = time.Since(began)
	r.Killed = limited.Err() != nil
	var exit *exec.ExitError
	switch {
	case r.Killed || errors.As(err, &exit):
		if r.Code = cmd.ProcessState.ExitCode(); r.Killed || r.Code < 0 {
			r.Code = exitKilled
		}
	case err != nil:
		return fmt.Errorf("run command: %w", err)
	}
	return nil
}

// exitKilled is the code of a command that was ended at its limit or by a signal: the
// harness failed, there is no verdict to trust.
const exitKilled = 3

// uptime reads how long ago the kernel started (proc_uptime(5): seconds, with two digits).
func uptime(file string) (time.Duration, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("read uptime: %w", err)
	}
	first, _, _ := strings.Cut(string(text), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0, fmt.Errorf("read uptime: %w", err)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}
