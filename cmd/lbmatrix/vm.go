// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/guest"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/harness/vm"
)

// vmFlags are the flags of vm run.
type vmFlags struct {
	kernel, source, results string
	cpus, memory            int // memory in MiB
	timeout                 time.Duration
}

func (a *app) vmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vm",
		Short: "Run lbmatrix in a small guest with a kernel of its own",
		Long: `A guest is a virtual machine with Debian's cloud kernel. It is for what the kernel of this machine lacks: ip_vs, for
instance. It has no network, and its results come back as if the run had been here.`,
	}
	cmd.AddCommand(a.vmRun())
	return cmd
}

func (a *app) vmRun() *cobra.Command {
	var f vmFlags
	cmd := &cobra.Command{
		Use:   "run [flags] -- ARGS...",
		Short: "Boot a guest, run `lbmatrix ARGS...` in it, bring its results back",
		Long: `Run boots a guest with qemu, runs lbmatrix ARGS... in it, moves the folders that the command left in its results folder into
--results, and exits with the command's code. What is missing is made first: qemu's packages (as root, on Debian), the
guest's kernel and system, the programs the scenarios need. Scenarios run on clusters of processes (--provider netns).

KVM is used where a machine was seen to come up on it. Elsewhere the guest is emulated: it is correct and ten to fifty times
slower, so its latencies are not judged. Time limits stretch by how slow the guest measures itself to be; --timeout sets
one instead. A guest that does not end is killed and reported broken (exit code 3) with the end of its console; where no
guest can be had the exit code is 4.`,
		Example: `  lbmatrix vm run -- run kube-proxy-ipvs-strictarp-metallb-l2
  lbmatrix vm run --memory 3072 --timeout 10m -- run --file my-scenario.yaml --skip-mutations
  lbmatrix vm run -- doctor`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || cmd.ArgsLenAtDash() != 0 {
				return usageError(errors.New("vm run: what the guest is to run stands after --, for example: lbmatrix vm run -- run SCENARIO"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.runInGuest(cmd, f, args) },
	}
	cmd.Flags().StringVar(&f.kernel, "kernel", artifact.DefaultGuestKernel, "the guest's kernel: "+strings.Join(artifact.GuestKernels(), ", "))
	cmd.Flags().StringVar(&f.source, "source", string(artifact.Auto), "where artifacts come from: auto, registry or go-module")
	cmd.Flags().StringVar(&f.results, "results", "results", "folder that the guest's run folders are brought into")
	cmd.Flags().IntVar(&f.cpus, "cpus", guest.DefaultCPUs, "the guest's CPUs")
	cmd.Flags().IntVar(&f.memory, "memory", guest.DefaultMemory>>20, "the guest's memory, in MiB")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 0, "end the command after this time, however slow the guest is (default: by its measured pace)")
	return cmd
}

// What a command may take on a machine like this one: a scenario on a cluster of processes
// takes half of it, mutations included.
const (
	vmAllowance         = time.Minute
	vmScenarioAllowance = time.Minute
)

func (a *app) runInGuest(cmd *cobra.Command, f vmFlags, args []string) error {
	if !slices.Contains(artifact.GuestKernels(), f.kernel) {
		return usageError(fmt.Errorf("--kernel %s: want one of %s", f.kernel, strings.Join(artifact.GuestKernels(), ", ")))
	}
	if f.cpus < 1 || f.memory < 256 || f.timeout < 0 {
		return usageError(errors.New("vm run: want at least 1 CPU, 256 MiB and no negative --timeout"))
	}
	from, err := runner.Specs{Source: f.source}.Read(nil)
	if err != nil {
		return usageError(fmt.Errorf("vm run: %w", err))
	}
	cargo, err := a.guestCargo(args)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return failed(fmt.Errorf("find own program: %w", err))
	}
	show := newDisplay(a.stderr)
	defer show.done()
	store, err := openStore(cmd.Context(), from, cargo.sets, show)
	if err != nil {
		return failed(err)
	}
	home, err := runner.NewHomecoming(f.results, time.Now())
	if err != nil {
		return failed(err)
	}
	r, err := vm.Run(cmd.Context(), vm.Options{
		Args: args, Kernel: f.kernel, CPUs: f.cpus, Memory: int64(f.memory) << 20, Limit: f.timeout,
		Allowance: vmAllowance + time.Duration(len(cargo.sets))*vmScenarioAllowance,
		Store:     store, Program: self, Sets: cargo.sets, Files: cargo.files, Dir: home.Logs(), Results: home.Incoming(),
		Note: show.note,
		Output: func(stream string, data []byte) {
			show.done()
			if stream == "stdout" {
				_, _ = a.stdout.Write(data) // the guest goes on without a reader
				return
			}
			_, _ = a.stderr.Write(data)
		},
	})
	moved, moveErr := home.Settle()
	for _, dir := range moved {
		show.line("results: %s", relative(dir))
	}
	if fix, ok := vm.Unsupported(err); ok {
		return &exitError{code: report.ExitNotRun, err: fmt.Errorf("%w. %s", err, fix)}
	}
	if err := errors.Join(err, moveErr); err != nil {
		return failed(err)
	}
	if r.Killed {
		return failed(fmt.Errorf("the command did not end within %s in the guest and was ended", r.Limit.Round(time.Second)))
	}
	if r.Code != report.ExitOK {
		return &exitError{code: r.Code}
	}
	return nil
}

// cargo is what a command needs in a guest.
type cargo struct {
	sets  []artifact.Set
	files map[string]string
}

// guestCargo reads a command line meant for a guest: the scenarios of a run say which
// programs go along, and their mistakes are told before anything is booted.
func (a *app) guestCargo(args []string) (cargo, error) {
	c := cargo{files: map[string]string{}}
	if args[0] != "run" {
		return c, nil
	}
	f, names, err := a.parseRun(args[1:])
	if err != nil {
		return c, usageError(fmt.Errorf("in the guest: %w", err))
	}
	switch {
	case f.resume != "" || f.keep != "never":
		return c, usageError(errors.New("vm run: --resume and --keep make no sense in a guest, of which nothing is left"))
	case f.results != "results":
		return c, usageError(errors.New("vm run: give --results before the --: the guest's own folder is brought home"))
	}
	for _, file := range f.files {
		c.files[file] = file
	}
	all, err := choose(f, names)
	if err != nil {
		return c, err
	}
	for _, sc := range all {
		if !runner.GuestCanRun(sc) {
			continue // it will say there that it needs a kubelet
		}
		c.sets = append(c.sets, runner.SetOf(sc, scenario.ProviderNetns))
	}
	return c, nil
}
