// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"fmt"
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
