// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"context"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// Beside versions, a journal's header says where artifacts came from, under these names.
const (
	propertySource = "source"
	ownMark        = "own "
)

// From says where artifacts come from.
type From struct {
	Source  artifact.Source // Auto is decided before the first cluster, and said
	Mirrors []string        // HOST=TARGET
	Pins    string          // file of the user's digests
	Own     artifact.Own
}

// ownBuilds says whether a journal's versions name a build of the user's own.
func ownBuilds(versions map[string]string) bool {
	for name := range versions {
		if strings.HasPrefix(name, ownMark) {
			return true
		}
	}
	return false
}

// concerns says whether a build of the user's own stands in for a part of a scenario.
func concerns(own artifact.Own, sc *scenario.Scenario) bool {
	return ownImages(own, sc) || slices.ContainsFunc(sc.Spec.Components, func(c scenario.Component) bool { return own.Charts[c.Name] != "" })
}

func ownImages(own artifact.Own, sc *scenario.Scenario) bool {
	return slices.ContainsFunc(sc.Spec.Components, func(c scenario.Component) bool {
		return slices.ContainsFunc(own.Images, func(i artifact.OwnImage) bool { return i.Component == c.Name })
	})
}

// ownElsewhere refuses builds of the user's own where they would not run, or not be told
// of, and what is published would pass for them: an image is for containers, and what ran
// in a guest is written there.
func (r *execution) ownElsewhere(sc *scenario.Scenario, guest bool) error {
	switch own := r.From.Own; {
	case ownImages(own, sc):
		return &unsupportedError{journal.Unsupported{
			Missing: []string{"images of your own run in containers only, and this cluster has none"},
			Fix:     "Run it with --provider kind (`make docker` starts a daemon), or without --image",
		}}
	case guest && concerns(own, sc):
		return &unsupportedError{journal.Unsupported{
			Missing: []string{"a chart of your own is not taken into a guest"},
			Fix:     "Run it where the kernel has what the scenario needs, or without --chart",
		}}
	}
	return nil
}

// Options are those of an artifact store.
func (f From) Options(progress func(artifact.Event)) artifact.Options {
	return artifact.Options{Source: f.Source, Mirrors: f.Mirrors, Pins: f.Pins, Own: f.Own, Progress: progress}
}

// SetOf lists what a scenario's cluster runs where a provider makes it.
func SetOf(sc *scenario.Scenario, provider string) artifact.Set {
	set := artifact.Set{Kubernetes: sc.Spec.Cluster.Kubernetes, Components: map[string]string{}, Processes: provider == scenario.ProviderNetns}
	for _, c := range sc.Spec.Components {
		set.Components[c.Name] = c.Version
	}
	return set
}

// sets lists what the clusters of the run need, where that is not decided yet. Scenarios
// that no provider is left for will not run.
func (r *execution) sets(ctx context.Context) ([]artifact.Set, error) {
	if r.From.Source != artifact.Auto && r.From.Source != "" {
		return nil, nil
	}
	var sets []artifact.Set
	for _, sc := range r.Scenarios {
		chosen, err := choose(ctx, r.Provider, sc, findDaemon())
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			continue
		}
		if chosen.daemon != nil && r.wantsGuest(sc, preflightCheck(ctx, chosen.daemon, sc)) {
			chosen.provider = scenario.ProviderNetns // in the guest
		}
		sets = append(sets, SetOf(sc, chosen.provider))
	}
	return sets, nil
}

// openStore decides once for all scenarios of the run: a matrix whose rows come from
// different places compares nothing.
func (r *execution) openStore(ctx context.Context) error {
	if r.store != nil {
		return nil
	}
	sets, err := r.sets(ctx)
	if err != nil {
		return err
	}
	source, why, err := artifact.Decide(ctx, r.From.Options(nil), sets)
	if err != nil {
		return err
	}
	if why != "" {
		r.note("%s", why)
	}
	r.From.Source = source
	if source == artifact.GoModule { // where the command line left that open, it is known now
		if err := pinned(r.Scenarios, r.From.Own); err != nil {
			return err
		}
	}
	r.store, err = artifact.Open(r.From.Options(r.Artifacts))
	return err
}
