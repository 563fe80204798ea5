// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lbmatrix/lbmatrix/fixtures"
)

// Chart is a component's Helm chart, a folder or an archive: the user's own; the
// published one; or the one in the module the component is built from, so that chart and
// programs are of one version.
func (s *Store) Chart(ctx context.Context, component, version string) (string, error) {
	if s.carried != nil {
		return s.carriedChart(component + " " + version)
	}
	if own := s.own.Charts[component]; own != "" {
		dir, err := filepath.Abs(own)
		if err != nil {
			return "", fmt.Errorf("find chart: %w", err)
		}
		return dir, CheckChart(dir)
	}
	if s.from == Registry {
		file, err := s.fetchedChart(ctx, component, version)
		if err != nil {
			return "", fmt.Errorf("find chart: %w", err)
		}
		return file, nil
	}
	a, err := lookupAddon(component)
	if err != nil {
		return "", fmt.Errorf("find chart: %w", err)
	}
	p, err := loadPin(fixtures.Components, component, version)
	if err != nil {
		return "", fmt.Errorf("find chart: %w", err)
	}
	module, err := p.moduleDir(ctx)
	if err != nil {
		return "", fmt.Errorf("find chart: %w", err)
	}
	dir := filepath.Join(module, filepath.FromSlash(a.chart))
	if _, err := os.Stat(filepath.Join(dir, "Chart.yaml")); err != nil {
		return "", fmt.Errorf("find chart: %w", err)
	}
	return dir, nil
}
