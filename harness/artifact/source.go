// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lbmatrix/lbmatrix/harness/artifact/fetch"
)

// Source is where components come from.
type Source string

// The sources of components.
const (
	Auto     Source = "auto"      // the registry where it can be had, else go-module: see Decide
	Registry Source = "registry"  // container images and charts from their registries
	GoModule Source = "go-module" // built from the Go modules their projects publish
)

// provider knows how to get the programs of a component: static binaries in one
// folder. It only says how, so that keys are known before anything is made.
type provider interface {
	programs(ctx context.Context, component, version string) (recipe, error)
}

// ParseSource reads the name of a source; the empty one is Auto.
func ParseSource(name string) (Source, error) {
	switch s := Source(name); s {
	case "":
		return Auto, nil
	case Auto, Registry, GoModule:
		return s, nil
	}
	return "", fmt.Errorf("unknown source %q: want %s, %s or %s", name, Auto, Registry, GoModule)
}

// answerLimit bounds the question whether registries can be reached.
const answerLimit = 10 * time.Second

// Decide turns Auto into a source, and says why: the registry where everything that the
// sets need is pinned and every host of it answers, else Go modules. Other sources stay.
func Decide(ctx context.Context, o Options, sets []Set) (Source, string, error) {
	asked := o.Source
	o.Source = Registry
	s, err := Open(o)
	switch {
	case err != nil:
		return "", "", err
	case s.carried != nil:
		return s.carried.Source, "", nil // what is there came from there, whatever was asked for
	case asked != Auto && asked != "":
		return asked, "", nil
	case len(sets) == 0:
		return GoModule, "", nil // nothing is needed
	}
	hosts := map[string]bool{}
	for _, set := range sets {
		published, err := s.Published(set)
		if err != nil {
			return "", "", err
		}
		for _, p := range published {
			if p.Pinned == "" {
				return GoModule, fmt.Sprintf("components from Go modules: no digest is pinned for %s (`%s` asks for it)", p.Name, set.pinCommand()), nil
			}
			hosts[p.Host] = true
		}
	}
	names := slices.Sorted(maps.Keys(hosts))
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, host := range names {
		group.Go(func() error { return s.registries.client.Answers(ctx, host) })
	}
	if err := group.Wait(); err != nil {
		return GoModule, fmt.Sprintf("components from Go modules: a registry does not answer (%v)", err), nil
	}
	return Registry, "components from registries: " + strings.Join(names, ", ") + " answer, and everything is pinned", nil
}

// CheckMirrors says whether mirrors can be read.
func CheckMirrors(specs []string) error {
	_, err := fetch.ParseMirrors(specs)
	return err
}
