// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Build makes everything of a set that needs no docker: programs, base systems and
// charts. NodeImages then only has to bake; of a cluster of processes Programs has nothing
// left to do.
func (s *Store) Build(ctx context.Context, set Set) error {
	if set.Processes {
		return s.buildProcesses(ctx, set)
	}
	if s.from == Registry {
		return s.fetchAll(ctx, set)
	}
	p, err := s.parts(ctx, nil, set)
	if err != nil {
		return fmt.Errorf("plan artifacts: %w", err)
	}
	if _, err := s.ensureAll(ctx, p); err != nil {
		return err
	}
	return nil
}

func (s *Store) buildProcesses(ctx context.Context, set Set) error {
	if _, err := s.Programs(ctx, set); err != nil {
		return err
	}
	return s.charts(ctx, set)
}

// charts makes the charts of a set's components.
func (s *Store) charts(ctx context.Context, set Set) error {
	for _, component := range slices.Sorted(maps.Keys(set.Components)) {
		if _, err := s.Chart(ctx, component, set.Components[component]); err != nil {
			return err
		}
	}
	return nil
}

// Save writes the images of a set's components, and the probe's, to w, as `docker load`
// and `kind load image-archive` read them. It returns their references.
func (s *Store) Save(ctx context.Context, set Set, w io.Writer) ([]string, error) {
	if s.from == Registry {
		return s.saveFetched(ctx, set, w)
	}
	p, err := s.parts(ctx, nil, set)
	if err != nil {
		return nil, fmt.Errorf("plan artifacts: %w", err)
	}
	dirs, err := s.ensureAll(ctx, p)
	if err != nil {
		return nil, err
	}
	images, err := p.addonImages(ctx, dirs)
	if err != nil {
		return nil, fmt.Errorf("save images: %w", err)
	}
	return writeAll(w, append(images, probeImage(p.probe)))
}

func writeAll(w io.Writer, images []image) ([]string, error) {
	var refs []string
	for _, i := range images {
		refs = append(refs, i.ref)
	}
	return refs, writeImages(w, images)
}

// fetchAll fetches everything of a set: the node image, the components' images and charts.
func (s *Store) fetchAll(ctx context.Context, set Set) error {
	f, err := s.fetchedSet(ctx, nil, set)
	if err != nil {
		return fmt.Errorf("plan artifacts: %w", err)
	}
	if _, err := s.fetchedImage(ctx, f.node, f.digest); err != nil {
		return err
	}
	if _, err := s.contents(ctx, f); err != nil {
		return err
	}
	return s.charts(ctx, set)
}

func (s *Store) saveFetched(ctx context.Context, set Set, w io.Writer) ([]string, error) {
	f, err := s.fetchedSet(ctx, nil, set)
	if err != nil {
		return nil, fmt.Errorf("plan artifacts: %w", err)
	}
	images, err := s.contents(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("save images: %w", err)
	}
	probe, err := s.program(ctx, "lbprobe", s.probe)
	if err != nil {
		return nil, err
	}
	return writeAll(w, append(images, probeImage(probe)))
}
