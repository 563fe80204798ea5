// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/runner"
)

func (a *app) judgeCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "judge DIR",
		Short: "Repeat every verdict of a run from its journals",
		Long: `Judge reads the journals in a run's folder (or in one scenario's) and judges them again, without a cluster. It prints
the matrix, and says where a verdict differs from the verdicts.json that the run wrote. Nothing is written.`,
		Example: `  lbmatrix judge results/latest
  lbmatrix judge results/latest/kube-proxy-iptables-metallb-l2 -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := loadRun(args[0])
			if err != nil {
				return err
			}
			m.Run.Exit = report.ExitCode(m, m.Run.Named)
			a.compareVerdicts(args[0], m)
			return a.finish(m, args[0], format)
		},
	}
	outputFlag(cmd, &format, "text", "json")
	return cmd
}

// loadRun judges a folder; a folder that cannot be read is bad usage.
func loadRun(dir string) (report.Matrix, error) {
	m, err := runner.Load(dir)
	if err != nil {
		return m, usageError(err)
	}
	return m, nil
}

// compareVerdicts says on stderr where the verdicts on disk differ from those just made.
func (a *app) compareVerdicts(dir string, m report.Matrix) {
	old, err := report.ReadVerdicts(filepath.Join(dir, report.VerdictsFile))
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		fmt.Fprintln(a.stderr, "lbmatrix:", err)
		return
	}
	type key struct{ scenario, phase, check string }
	before := map[key]string{}
	for _, s := range old.Suites {
		for _, c := range s.Cells {
			before[key{c.Scenario, c.Phase, c.Check}] = said(c)
		}
	}
	same, differ := 0, 0
	for _, s := range m.Suites {
		for _, c := range s.Cells {
			now := said(c)
			was, ok := before[key{c.Scenario, c.Phase, c.Check}]
			switch {
			case !ok:
				was = "not there"
				fallthrough
			case was != now:
				differ++
				fmt.Fprintf(a.stderr, "differs: %s %s %s: was %s, is %s\n", c.Scenario, c.Phase, c.Check, was, now)
			default:
				same++
			}
		}
	}
	fmt.Fprintf(a.stderr, "%d verdicts are as in %s, %d differ\n", same, report.VerdictsFile, differ)
}

// said is what two judgements of the same facts must agree in.
func said(c judge.Cell) string {
	text := fmt.Sprintf("%s %s: %s", c.Result, c.Verdict.Code, c.Verdict.Message)
	for _, f := range c.Verdict.Findings {
		text += fmt.Sprintf(" [%s: %s]", f.Component, f.Message)
	}
	return text
}

func (a *app) reportCommand() *cobra.Command {
	var out, format string
	cmd := &cobra.Command{
		Use:   "report DIR...",
		Short: "Render the matrix of one run, or merge several",
		Long: `Report judges the journals in the given folders and writes verdicts.json, junit.xml and matrix.md: into --out, or into the
folder itself where there is only one. Runs of shards, attempts and killed runs merge; each cell says where it ran.`,
		Example: `  lbmatrix report results/latest
  lbmatrix report shard-1 shard-2 --out merged
  lbmatrix report results/latest -o github >> "$GITHUB_STEP_SUMMARY"`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if out == "" {
				if len(args) > 1 {
					return usageError(errors.New("report: several folders need --out"))
				}
				out = args[0]
			}
			var all []report.Matrix
			for _, dir := range args {
				m, err := loadRun(dir)
				if err != nil {
					return err
				}
				all = append(all, m)
			}
			m := report.Merge(all)
			m.Run.Exit = report.ExitCode(m, m.Run.Named)
			if err := report.Write(out, m); err != nil {
				return failed(err)
			}
			if format == "github" {
				if err := report.GitHubSummary(a.stdout, m); err != nil {
					return failed(err)
				}
				return exitOf(m)
			}
			return a.finish(m, out, format)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "folder to write to")
	outputFlag(cmd, &format, "text", "json", "github")
	return cmd
}
