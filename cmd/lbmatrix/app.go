// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/fault"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// app is what every command has at hand.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	args           []string
}

// exitError carries an exit code through cobra. A nil err prints nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageError is a mistake in what was typed: exit code 2.
func usageError(err error) error { return &exitError{code: report.ExitUsage, err: err} }

func execute(ctx context.Context, a *app) int {
	root := a.root()
	root.SetArgs(a.args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return report.ExitOK
	}
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.err != nil {
			fmt.Fprintln(a.stderr, "lbmatrix:", exit.err)
		}
		return exit.code
	}
	// Whatever cobra itself refuses is a mistake on the command line.
	fmt.Fprintln(a.stderr, "lbmatrix:", err)
	return report.ExitUsage
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "lbmatrix",
		Short: "Prove that a bare-metal Kubernetes LoadBalancer works",
		Long: `lbmatrix runs scenarios on real clusters: it brings up a cluster, installs the components with Helm, sends real
traffic to the LoadBalancer address from a host on the same segment, counts who answers ARP, measures latency,
breaks the cluster in known ways to prove its own checks, and writes one matrix.

Exit codes: 0 all green; 1 a check failed or a known-bad was missed; 2 bad usage; 3 the harness or a cluster
failed; 4 what was asked for did not run.`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(
		a.runCommand(), a.listCommand(), a.explainCommand(), a.judgeCommand(), a.reportCommand(), a.cleanCommand(),
		a.doctorCommand(), a.imagesCommand(), a.probeCommand(), a.selftestCommand(), a.dockerCommand(), a.vmCommand(), a.versionCommand(),
	)
	return root
}

// failed is an error of the harness itself: exit code 3.
func failed(err error) error { return &exitError{code: report.ExitBroken, err: err} }

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return failed(fmt.Errorf("write output: %w", err))
	}
	return nil
}

// outputFlag adds -o with the given formats; the first is the default.
func outputFlag(cmd *cobra.Command, format *string, formats ...string) {
	cmd.Flags().StringVarP(format, "output", "o", formats[0], "output format: "+strings.Join(formats, ", "))
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(formats, *format) {
			return usageError(fmt.Errorf("--output %s: want one of %s", *format, strings.Join(formats, ", ")))
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

// scenarioOptions are what scenario files are checked against.
func scenarioOptions() scenario.Options {
	return scenario.Options{Mutations: fault.Names(), Checks: judge.IDs()}
}
