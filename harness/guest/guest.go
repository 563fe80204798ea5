// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package guest boots a small virtual machine with a kernel of its own, runs lbmatrix in
// it and brings back what that found. It is for what the kernel of this machine lacks.
//
// A guest has no network card. Its system disk is never written to; a second disk takes
// the results, a third brings the programs and the job; the first serial line is its
// console, the second tells how the job goes on (package job).
package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/guest/job"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
)

// Options say what a guest is and what it does.
type Options struct {
	QEMU   string
	Guest  artifact.Guest
	CPUs   int
	Memory int64 // bytes
	// Cargo is the folder that becomes the guest's third disk: job.Binaries with lbmatrix,
	// and whatever else it needs. The job is added.
	Cargo string
	Job   job.Job
	// Dir is where the console's log lands, Results where the result files do; both exist.
	Dir, Results string
	// Scratch is a folder that is made for the guest's disks, and removed.
	Scratch string
	// BootLimit bounds the time until the guest has measured itself: before that nobody
	// knows how slow it is. 0 is BootLimit.
	BootLimit time.Duration
	Ledger    *ledger.Ledger
	Events    func(job.Event)
}

// What a guest is given unless told otherwise. Three nodes, their control plane and
// everything else took 0.7 GB in one.
const (
	DefaultCPUs   = 2
	DefaultMemory = 2 << 30 // bytes
)

// BootLimit is how long a guest may take to come up: an emulated one was measured at 5 s
// on an idle machine.
const BootLimit = 2 * time.Minute

// Files of a guest in the folder of its run.
const (
	SerialLog  = "serial.log"
	ReportFile = "guest.json"
)

// HungError is a guest that did not get to its end in time and was killed.
type HungError struct {
	After time.Duration
	What  string // what it was doing
	Said  string // the end of its console
}

func (e *HungError) Error() string {
	msg := fmt.Sprintf("the guest %s: killed after %s", e.What, e.After.Round(time.Second/10))
	if e.Said != "" {
		msg += "; its console ends with: " + e.Said
	}
	return msg
}

// Run boots a guest, waits for its end and unpacks what it brings back. Whatever happens,
// nothing of it is left when Run returns. The report's Code is the command's exit code;
// the error is of the guest itself: a [HungError], or [job.ErrNoExit] where it ended and
// left no result.
func Run(ctx context.Context, o Options) (r job.Report, err error) {
	if o.BootLimit == 0 {
		o.BootLimit = BootLimit
	}
	scratch := ledger.Entry{Kind: ledger.Directory, Name: o.Scratch}
	if err := o.Ledger.Add(scratch); err != nil {
		return r, fmt.Errorf("run guest: %w", err)
	}
	defer func() {
		gone := os.RemoveAll(o.Scratch)
		if gone == nil {
			gone = o.Ledger.Done(scratch)
		}
		err = errors.Join(err, gone)
	}()
	disks, err := o.disks(ctx)
	if err != nil {
		return r, fmt.Errorf("run guest: %w", err)
	}
	m := machine{
		guest: o.Guest, accelerator: o.Job.Accelerator, cpus: o.CPUs, memory: o.Memory,
		console: filepath.Join(o.Dir, SerialLog), disks: disks,
	}
	if err := o.run(ctx, m); err != nil {
		return r, err
	}
	return o.collect(disks[1].file)
}

// disks makes the disks of a guest: its system, an empty one for results, its cargo.
func (o Options) disks(ctx context.Context) ([]disk, error) {
	if err := os.MkdirAll(o.Scratch, 0o700); err != nil {
		return nil, err
	}
	if err := o.Job.Write(o.Cargo); err != nil {
		return nil, err
	}
	results, cargo := filepath.Join(o.Scratch, "results.img"), filepath.Join(o.Scratch, "cargo.ext4")
	f, err := os.Create(results)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(job.MaxResults), f.Close()); err != nil {
		return nil, err
	}
	const room = 1 << 20 // bytes: it is mounted read only
	if err := artifact.WriteExt4(ctx, o.Cargo, cargo, room); err != nil {
		return nil, err
	}
	return []disk{{file: o.Guest.Disk, pristine: true}, {file: results}, {file: cargo, readOnly: true}}, nil
}

// collect unpacks the results and keeps the report beside the console's log.
func (o Options) collect(image string) (job.Report, error) {
	f, err := os.Open(image)
	if err != nil {
		return job.Report{}, fmt.Errorf("collect results: %w", err)
	}
	defer f.Close()
	r, err := job.Unpack(f, o.Results)
	if errors.Is(err, job.ErrNoExit) {
		return r, fmt.Errorf("%w; its console (%s) ends with: %s", err, SerialLog, o.said())
	}
	if err != nil {
		return r, err
	}
	return r, r.Write(filepath.Join(o.Dir, ReportFile))
}
