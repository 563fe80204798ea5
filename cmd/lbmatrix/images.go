// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func (a *app) imagesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "images",
		Short: "Build, list and bake what clusters are made of",
		Long: `Artifacts (programs, images, charts) are kept by content under the user's cache directory (LBMATRIX_CACHE overrides), and
baked into node images in the Docker daemon, so that no cluster loads or pulls anything.`,
	}
	cmd.AddCommand(a.imagesBuild(), a.imagesList(), a.imagesBake(), a.imagesSave(), a.imagesPin(), a.imagesVerify())
	return cmd
}

// imageSet is what a command builds: the artifacts of the named scenarios.
type imageSet struct {
	from     fromFlags
	files    []string
	provider string // whose clusters; "" is kind
}

// providerFlag is for commands that concern clusters of both kinds.
func (s *imageSet) providerFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.provider, "provider", scenario.ProviderKind, "for clusters of this provider: kind (node images) or netns (programs)")
	_ = cmd.RegisterFlagCompletionFunc("provider", fixed(scenario.ProviderKind, scenario.ProviderNetns))
}

func (s *imageSet) flags(cmd *cobra.Command) {
	s.from.sourceFlags(cmd)
	s.from.ownFlags(cmd)
	cmd.Flags().StringArrayVar(&s.files, "file", nil, "the scenario in this file; may be repeated")
}

func (s *imageSet) each(ctx context.Context, a *app, names []string, use func(*artifact.Store, *scenario.Scenario, artifact.Set) error) error {
	if s.provider != "" && s.provider != scenario.ProviderKind && s.provider != scenario.ProviderNetns {
		return usageError(fmt.Errorf("--provider %s: want %s or %s", s.provider, scenario.ProviderKind, scenario.ProviderNetns))
	}
	all, err := choose(runFlags{files: s.files}, names)
	if err != nil {
		return err
	}
	if s.provider == scenario.ProviderNetns {
		if all, err = onNamespaces(all, len(names)+len(s.files) > 0); err != nil {
			return err
		}
		if len(s.from.Images) > 0 {
			return usageError(errors.New("--image: images of your own run in containers only, and clusters of namespaces have none"))
		}
	}
	from, err := s.from.read(all)
	if err != nil {
		return err
	}
	show := newDisplay(a.stderr)
	defer show.done()
	var sets []artifact.Set
	for _, sc := range all {
		sets = append(sets, runner.SetOf(sc, cmp.Or(s.provider, scenario.ProviderKind)))
	}
	store, err := openStore(ctx, from, sets, show)
	if err != nil {
		return failed(err)
	}
	for i, sc := range all {
		if err := use(store, sc, sets[i]); err != nil {
			return failed(err)
		}
	}
	return nil
}

// openStore decides where artifacts come from, says why, and opens the store.
func openStore(ctx context.Context, from runner.From, sets []artifact.Set, show *display) (*artifact.Store, error) {
	source, why, err := artifact.Decide(ctx, from.Options(nil), sets)
	if err != nil {
		return nil, err
	}
	if why != "" {
		show.note(why)
	}
	from.Source = source
	return artifact.Open(from.Options(show.artifact))
}

// onNamespaces leaves out the scenarios whose clusters cannot be of namespaces; it is a
// mistake to name one.
func onNamespaces(all []*scenario.Scenario, named bool) ([]*scenario.Scenario, error) {
	var out []*scenario.Scenario
	for _, sc := range all {
		if runner.GuestCanRun(sc) {
			out = append(out, sc)
		} else if named {
			return nil, usageError(fmt.Errorf("scenario %s: it needs a cluster of provider %s", sc.Metadata.Name, scenario.ProviderKind))
		}
	}
	return out, nil
}

func (a *app) imagesBuild() *cobra.Command {
	var s imageSet
	cmd := &cobra.Command{
		Use:               "build [SCENARIO...]",
		Short:             "Build or fetch the programs, images and charts that scenarios need (no Docker needed)",
		Example:           "  lbmatrix images build --source go-module\n  lbmatrix images build --provider netns kube-proxy-nftables-metallb-l2",
		ValidArgsFunction: completeScenarios,
		RunE: func(cmd *cobra.Command, args []string) error {
			started := time.Now()
			err := s.each(cmd.Context(), a, args, func(store *artifact.Store, _ *scenario.Scenario, set artifact.Set) error {
				return store.Build(cmd.Context(), set)
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "built in %s\n", clock(time.Since(started)))
			return a.listArtifacts(cmd, "text")
		},
	}
	s.flags(cmd)
	s.providerFlag(cmd)
	return cmd
}

func (a *app) imagesBake() *cobra.Command {
	var s imageSet
	cmd := &cobra.Command{
		Use:               "bake [SCENARIO...]",
		Short:             "Bake the node images of scenarios into the Docker daemon",
		Example:           "  lbmatrix images bake kube-proxy-iptables-metallb-l2",
		ValidArgsFunction: completeScenarios,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := docker.Find(cmd.Context())
			if err != nil {
				return failed(err)
			}
			return s.each(cmd.Context(), a, args, func(store *artifact.Store, sc *scenario.Scenario, set artifact.Set) error {
				images, err := store.NodeImages(cmd.Context(), d, set)
				if err == nil {
					fmt.Fprintf(a.stdout, "%s\n  control plane %s\n  worker        %s\n  client        %s\n  backend       %s\n",
						sc.Metadata.Name, images.ControlPlane, images.Worker, images.Probe, images.ProbeInCluster)
				}
				return err
			})
		},
	}
	s.flags(cmd)
	return cmd
}

func (a *app) imagesSave() *cobra.Command {
	var s imageSet
	var out string
	cmd := &cobra.Command{
		Use:   "save SCENARIO",
		Short: "Write the component images of a scenario to an archive, for a cluster of your own",
		Example: `  lbmatrix images save cilium-kpr-dsr-metallb-l2 --out images.tar
  kind load image-archive images.tar`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: completeScenarios,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.each(cmd.Context(), a, args, func(store *artifact.Store, _ *scenario.Scenario, set artifact.Set) (err error) {
				f, err := os.Create(out)
				if err != nil {
					return fmt.Errorf("save images: %w", err)
				}
				defer func() { err = errors.Join(err, f.Close()) }()
				refs, err := store.Save(cmd.Context(), set, f)
				if err == nil {
					fmt.Fprintln(a.stdout, strings.Join(refs, "\n"))
				}
				return err
			})
		},
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&out, "out", "images.tar", "the archive to write")
	return cmd
}

func (a *app) imagesList() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the artifacts in the cache",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.listArtifacts(cmd, format) },
	}
	outputFlag(cmd, &format, "text", "json")
	return cmd
}

func (a *app) listArtifacts(cmd *cobra.Command, format string) error {
	store, err := artifact.Open(artifact.Options{})
	if err != nil {
		return failed(err)
	}
	all, err := store.List(cmd.Context())
	if err != nil {
		return failed(err)
	}
	if format == "json" {
		return a.printJSON(all)
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ARTIFACT\tVERSION\tKEY\tSIZE\tBUILD TIME")
	var bytes int64
	var took time.Duration
	for _, m := range all {
		fmt.Fprintf(tw, "%s\t%s\t%.12s\t%s\t%s\n", m.Name, m.Version, m.Key, size(m.Bytes), clock(m.BuildTime))
		bytes += m.Bytes
		took += m.BuildTime
	}
	fmt.Fprintf(tw, "all\t\t\t%s\t%s\n", size(bytes), clock(took))
	return tw.Flush()
}
