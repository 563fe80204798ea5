// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/selftest"
	"github.com/lbmatrix/lbmatrix/harness/world"
)

// insideFlag says that the process is in namespaces of its own already.
const insideFlag = "in-namespace"

func (a *app) selftestCommand() *cobra.Command {
	var inside, quiet bool
	var names []string
	var o selftest.Options
	var sabotage, format string
	cmd := &cobra.Command{
		Use:   "selftest",
		Short: "Prove the instruments and checks on this machine, in worlds whose truth is known",
		Long: `Selftest builds segments of network namespaces in which it is known who answers ARP and what becomes of requests, runs
the instruments in them, and holds every check to the truth: it must pass where all is well, and fail with the right
code where it is not. What load and watch measure of a stall and of an outage must be as long as those were. It takes
less than a minute and needs no cluster, no Docker and no root: without root it uses a user namespace. It touches no
network of this machine. It exits with 0 when all of them said what is true, 1 when one did not, and 4 when this machine
cannot make network namespaces. A figure that this machine is too busy for is told, and not held against lbmatrix.`,
		Example: `  lbmatrix selftest
  lbmatrix selftest --world two-responders,dsr --keep /tmp/worlds
  lbmatrix selftest --sabotage one-mac    # break a detector on purpose: it must exit with 1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := chooseWorlds(&o, names); err != nil {
				return err
			}
			if err := applySabotage(&o, sabotage); err != nil {
				return err
			}
			if !inside {
				return a.enterNamespaces(cmd.Context())
			}
			if err := world.Available(); err != nil {
				return unsupportedHere(err)
			}
			return a.selftest(cmd.Context(), o, format, quiet)
		},
	}
	cmd.Flags().BoolVar(&inside, insideFlag, false, "run where the process is")
	_ = cmd.Flags().MarkHidden(insideFlag)
	cmd.Flags().StringSliceVar(&names, "world", nil, "only these worlds")
	cmd.Flags().StringVar(&o.Dir, "keep", "", "keep the worlds' journals, and the streams of what was measured, in this folder; lbmatrix judge FOLDER/WORLD reads a journal")
	cmd.Flags().StringVar(&sabotage, "sabotage", "", "break a detector on purpose, to see the selftest fail: "+strings.Join(sabotageNames(), ", "))
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "do not tell which world has ended")
	outputFlag(cmd, &format, "table", "json")
	return cmd
}

func chooseWorlds(o *selftest.Options, names []string) error {
	all := selftest.Worlds()
	if len(names) == 0 {
		o.Worlds = all
		return nil
	}
	for _, name := range names {
		i := slices.IndexFunc(all, func(w selftest.World) bool { return w.Name == name })
		if i < 0 {
			var known []string
			for _, w := range all {
				known = append(known, w.Name)
			}
			return usageError(fmt.Errorf("--world: there is no world %q; worlds: %s", name, strings.Join(known, ", ")))
		}
		o.Worlds = append(o.Worlds, all[i])
	}
	return nil
}

func sabotageNames() []string {
	var names []string
	for _, s := range selftest.Sabotages() {
		names = append(names, s.Name)
	}
	return names
}

func applySabotage(o *selftest.Options, name string) error {
	if name == "" {
		return nil
	}
	for _, s := range selftest.Sabotages() {
		if s.Name == name {
			s.Apply(o)
			return nil
		}
	}
	return usageError(fmt.Errorf("--sabotage %s: want one of %s", name, strings.Join(sabotageNames(), ", ")))
}

// enterNamespaces starts this program again in a network namespace of its own, and a user
// namespace where it has no right to make one: whatever it did, no frame could leave.
func (a *app) enterNamespaces(ctx context.Context) error {
	attempts := []uintptr{syscall.CLONE_NEWNET, syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER}
	if os.Geteuid() != 0 {
		attempts = attempts[1:]
	}
	var refused error
	for _, flags := range attempts {
		cmd := exec.CommandContext(ctx, "/proc/self/exe", append(slices.Clone(a.args), "--"+insideFlag)...)
		cmd.Args[0] = os.Args[0]
		cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout, a.stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 10 * time.Second
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
		if flags&syscall.CLONE_NEWUSER != 0 {
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
		}
		if err := cmd.Start(); err != nil {
			refused = err
			continue
		}
		err := cmd.Wait()
		var exit *exec.ExitError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &exit) && exit.ExitCode() >= 0:
			return &exitError{code: exit.ExitCode()} // it has said why
		}
		return failed(fmt.Errorf("run the selftest in namespaces of its own: %w", err))
	}
	return unsupportedHere(fmt.Errorf("start in a namespace: %w", refused))
}

func unsupportedHere(err error) error {
	return &exitError{code: report.ExitNotRun, err: fmt.Errorf(
		"selftest is unsupported here: %w. Run it as root, or allow unprivileged user namespaces (user.max_user_namespaces)", err)}
}

// selftest runs the worlds and prints what came of them.
func (a *app) selftest(ctx context.Context, o selftest.Options, format string, quiet bool) error {
	d := newDisplay(a.stderr)
	if !quiet {
		ended := 0
		o.Done = func(w selftest.World, elapsed time.Duration) {
			ended++
			d.status("%d of %d worlds: %s in %s", ended, len(o.Worlds), w.Name, clock(elapsed))
		}
	}
	r, err := selftest.Run(ctx, o)
	d.done()
	if err != nil {
		return failed(err)
	}
	if format == "json" {
		err = a.printJSON(r)
	} else {
		err = selftest.Table(a.stdout, r, o.Worlds)
	}
	if err != nil {
		return failed(err)
	}
	if r.Wrong > 0 {
		return &exitError{code: report.ExitFailed}
	}
	return nil
}
