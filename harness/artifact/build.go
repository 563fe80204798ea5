// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"fmt"
	"io"
)

// Build makes everything of a set that needs no docker: programs, base systems and
// charts. NodeImages then only has to bake.
func (s *Store) Build(ctx context.Context, set Set) error {
	p, err := s.parts(ctx, set)
	if err != nil {
		return fmt.Errorf("plan artifacts: %w", err)
	}
	if _, err := s.ensureAll(ctx, p); err != nil {
		return err
	}
	return nil
}

// Save writes the images of a set's components, and the probe's, to w, as `docker load`
// and `kind load image-archive` read them. It returns their references.
func (s *Store) Save(ctx context.Context, set Set, w io.Writer) ([]string, error) {
	p, err := s.parts(ctx, set)
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
	images = append(images, p.probeImage(p.names().Probe))
	var refs []string
	for _, i := range images {
		refs = append(refs, i.ref)
	}
	return refs, writeImages(w, images)
}
