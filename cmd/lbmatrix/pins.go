// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/artifact/pins"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// pinned is one line of images verify.
type pinned struct {
	Name   string `json:"name"`
	Pinned string `json:"pinned"`
	Served string `json:"served,omitempty"`
	State  string `json:"state"` // same, differs, unpinned or unknown
	Error  string `json:"error,omitempty"`
}

// published lists what the scenarios take from registries, each thing once.
func (s *imageSet) published(ctx context.Context, a *app, names []string) (store *artifact.Store, all []artifact.Published, err error) {
	s.from.Source = string(artifact.Registry)
	err = s.each(ctx, a, names, func(opened *artifact.Store, _ *scenario.Scenario, set artifact.Set) error {
		store = opened
		list, err := opened.Published(set)
		for _, p := range list {
			if !slices.ContainsFunc(all, func(q artifact.Published) bool { return q.Name == p.Name }) {
				all = append(all, p)
			}
		}
		return err
	})
	return store, all, err
}

func (a *app) imagesPin() *cobra.Command {
	var s imageSet
	var update bool
	cmd := &cobra.Command{
		Use:   "pin [SCENARIO...]",
		Short: "Ask registries for the digests of what scenarios need, and write them down",
		Long: `Pin asks what the tags of images and the versions of charts point at now, and adds the digests to the file of pins. From
then on --source registry takes exactly that, or fails. A pin that is there and differs is changed only with --update.`,
		Example: `  lbmatrix images pin kube-proxy-iptables-metallb-l2
  lbmatrix images pin --provider netns kube-proxy-iptables-metallb-l2
  lbmatrix images pin --pins pins.yaml --update`,
		ValidArgsFunction: completeScenarios,
		RunE: func(cmd *cobra.Command, args []string) error {
			file := s.from.Pins
			if file == "" {
				var err error
				if file, err = pins.DefaultFile(); err != nil {
					return failed(err)
				}
			}
			store, all, err := s.published(cmd.Context(), a, args)
			if err != nil {
				return err
			}
			own, err := pins.ReadFile(file)
			if err != nil {
				return failed(err)
			}
			return a.pin(cmd.Context(), store, all, own, file, update)
		},
	}
	s.pinFlags(cmd)
	cmd.Flags().BoolVar(&update, "update", false, "change pins that differ")
	return cmd
}

func (s *imageSet) pinFlags(cmd *cobra.Command) {
	s.flags(cmd)
	s.providerFlag(cmd)
	for _, name := range []string{"source", "image", "chart", "set"} {
		_ = cmd.Flags().MarkHidden(name) // they have no meaning here
	}
}

// pin writes down all digests or none: half a file would look like a whole one.
func (a *app) pin(ctx context.Context, store *artifact.Store, all []artifact.Published, own pins.Pins, file string, update bool) error {
	var kept []string
	for _, p := range all {
		now, err := store.Served(ctx, p)
		if err != nil {
			return failed(err)
		}
		switch {
		case p.Pinned == now:
			fmt.Fprintf(a.stdout, "same     %s %s\n", p.Name, now)
		case p.Pinned == "":
			fmt.Fprintf(a.stdout, "new      %s %s\n", p.Name, now)
			own = own.With(p.Name, now)
		case update:
			fmt.Fprintf(a.stdout, "changed  %s %s, was %s\n", p.Name, now, p.Pinned)
			own = own.With(p.Name, now)
		default:
			fmt.Fprintf(a.stdout, "differs  %s %s, pinned is %s\n", p.Name, now, p.Pinned)
			kept = append(kept, p.Name)
		}
	}
	if len(kept) > 0 {
		return &exitError{code: report.ExitFailed, err: fmt.Errorf("%d pins differ from what is served, and nothing was written: see whether that is meant, then --update", len(kept))}
	}
	if err := own.WriteFile(file); err != nil {
		return failed(err)
	}
	fmt.Fprintf(a.stdout, "%d pinned in %s\n", len(all), file)
	return nil
}

func (a *app) imagesVerify() *cobra.Command {
	var s imageSet
	var format string
	cmd := &cobra.Command{
		Use:   "verify [SCENARIO...]",
		Short: "Ask registries whether they still serve what is pinned",
		Long: `Verify asks what the tags of images and the versions of charts point at now, and compares with the pins. Exit code 1 says
that something differs or is not pinned, 3 that a registry could not be asked.`,
		ValidArgsFunction: completeScenarios,
		RunE: func(cmd *cobra.Command, args []string) error {
			store, all, err := s.published(cmd.Context(), a, args)
			if err != nil {
				return err
			}
			return a.verify(cmd.Context(), store, all, format)
		},
	}
	s.pinFlags(cmd)
	outputFlag(cmd, &format, "text", "json")
	return cmd
}

func (a *app) verify(ctx context.Context, store *artifact.Store, all []artifact.Published, format string) error {
	var out []pinned
	code := report.ExitOK
	var errs []error
	for _, p := range all {
		line := pinned{Name: p.Name, Pinned: p.Pinned, State: "same"}
		now, err := store.Served(ctx, p)
		switch line.Served = now; {
		case err != nil:
			line.State, line.Error = "unknown", err.Error()
			errs = append(errs, err)
			code = report.ExitBroken
		case p.Pinned == "":
			line.State = "unpinned"
			code = max(code, report.ExitFailed)
		case p.Pinned != now:
			line.State = "differs"
			code = max(code, report.ExitFailed)
		}
		out = append(out, line)
	}
	if format == "json" {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "STATE\tNAME\tPINNED\tSERVED")
		for _, l := range out {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", l.State, l.Name, cmp.Or(l.Pinned, "-"), cmp.Or(l.Served, "-"))
		}
		if err := tw.Flush(); err != nil {
			return failed(err)
		}
	}
	if code == report.ExitOK {
		return nil
	}
	return &exitError{code: code, err: errors.Join(errs...)}
}
