// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package vm runs lbmatrix in a guest: it sees to everything that takes, from qemu to the
// programs on the guest's disk, boots it, and brings home what the command found.
package vm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/guest"
	"github.com/lbmatrix/lbmatrix/harness/guest/job"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
	"github.com/lbmatrix/lbmatrix/harness/pace"
)

// Options say what to run and in which guest.
type Options struct {
	Args   []string // of lbmatrix
	Kernel string   // one of artifact.GuestKernels; "" is the default
	CPUs   int      // 0 is guest.DefaultCPUs
	Memory int64    // bytes; 0 is guest.DefaultMemory
	// Allowance is what the command may take on a machine like this one; in the guest it is
	// stretched by how much slower that is. Limit, where it is not 0, stands for the result.
	Allowance, Limit time.Duration

	Store *artifact.Store
	// Program is the lbmatrix that runs there; "" builds it.
	Program string
	// Sets are what the guest's clusters run: their programs and charts are carried along.
	Sets []artifact.Set
	// Suits refuses a guest before it is booted; nil takes any.
	Suits func(artifact.Guest) error
	// Files are brought into the guest's working folder: path there -> path here.
	Files map[string]string
	// Dir takes the guest's log and report, Results what the command left in its results
	// folder. Both are made.
	Dir, Results string
	// Note tells a person something; Output hears what the command writes. Both may be nil.
	Note   func(string)
	Output func(stream string, data []byte)
}

// Unsupported says what this machine lacks where an error of Run is that it cannot have a
// guest at all, and how to get it; ok is false for every other error.
func Unsupported(err error) (fix string, ok bool) {
	switch {
	case errors.Is(err, guest.ErrNoQEMU):
		return "Install qemu, or run as root on Debian, where lbmatrix installs it", true
	case errors.Is(err, artifact.ErrNoGuest):
		return "A guest is made as root on Debian, x86-64, with a source of its kernel's package in apt's lists", true
	}
	return "", false
}

// Run runs one command in a guest of its own. The report's Code is the command's.
func Run(ctx context.Context, o Options) (r job.Report, err error) {
	o.defaults()
	qemu, err := guest.FindQEMU(ctx, o.Note)
	if err != nil {
		return r, err
	}
	g, err := o.Store.Guest(ctx, o.Kernel)
	if err != nil {
		return r, err
	}
	if o.Suits != nil {
		if err := o.Suits(g); err != nil {
			return r, err
		}
	}
	book, scratch, err := openLedger()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, book.Close(false)) }()
	cargo := ledger.Entry{Kind: ledger.Directory, Name: scratch + "-cargo"}
	if err := book.Add(cargo); err != nil {
		return r, fmt.Errorf("load guest: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cargo.Name), book.Done(cargo)) }()
	if err := o.load(ctx, cargo.Name); err != nil {
		return r, err
	}
	for _, dir := range []string{o.Dir, o.Results} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return r, fmt.Errorf("make folder of the guest: %w", err)
		}
	}
	accelerator, why := guest.Accelerator(ctx, qemu, g)
	hostPace, err := pace.Measure(ctx, hostAttempts)
	if err != nil {
		return r, err
	}
	o.Note(fmt.Sprintf("booting a guest: kernel %s, %d CPUs, %d MiB, %s (%s)", g.Release, o.CPUs, o.Memory>>20, accelerator, why))
	return guest.Run(ctx, guest.Options{
		QEMU: qemu, Guest: g, CPUs: o.CPUs, Memory: o.Memory, Cargo: cargo.Name, Dir: o.Dir, Results: o.Results, Scratch: scratch,
		Job:    job.Job{Args: o.Args, Accelerator: accelerator, HostPace: hostPace, Allowance: o.Allowance, Limit: o.Limit},
		Ledger: book, Events: o.event,
	})
}

// hostAttempts is how often this machine measures itself: it may be busy with other work,
// and the least is what it can do.
const hostAttempts = 5

func (o *Options) defaults() {
	if o.Kernel == "" {
		o.Kernel = artifact.DefaultGuestKernel
	}
	if o.CPUs == 0 {
		o.CPUs = guest.DefaultCPUs
	}
	if o.Memory == 0 {
		o.Memory = guest.DefaultMemory
	}
	if o.Note == nil {
		o.Note = func(string) {}
	}
}

// event tells what the guest says.
func (o *Options) event(e job.Event) {
	switch e.Type {
	case job.Ready:
		o.Note(fmt.Sprintf("the guest is up and %.0f times slower than this machine; it has %s", e.Slowdown, e.Limit.Round(time.Second)))
	case job.Output:
		if o.Output != nil {
			o.Output(e.Stream, e.Data)
		}
	case job.Exit:
		if e.Killed {
			o.Note("the command was ended at its limit")
		}
	case job.Trouble:
		o.Note("the guest could not do its part: " + e.Text)
	case job.Packed:
	}
}

// openLedger opens a ledger for one guest, and names the folder of its disks.
func openLedger() (book *ledger.Ledger, scratch string, err error) {
	dir, err := ledger.Dir()
	if err != nil {
		return nil, "", err
	}
	var b [3]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, "", fmt.Errorf("name guest: %w", err)
	}
	name := "guest-" + hex.EncodeToString(b[:])
	if book, err = ledger.Open(dir, name); err != nil {
		return nil, "", err
	}
	return book, filepath.Join(os.TempDir(), "lbmatrix-"+name), nil
}
