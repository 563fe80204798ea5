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

// chartFolders says where the modules that carry a Helm chart keep it.
func chartFolders() map[string]string {
	return map[string]string{"metallb": "charts/metallb"}
}

// Chart is the folder of a component's Helm chart: the one in the module the
// component is built from, so that chart and programs are of one version.
func (s *Store) Chart(ctx context.Context, component, version string) (string, error) {
	folder, ok := chartFolders()[component]
	if !ok {
		return "", fmt.Errorf("find chart: %s carries none", component)
	}
	p, err := loadPin(fixtures.Components, component, version)
	if err != nil {
		return "", fmt.Errorf("find chart: %w", err)
	}
	module, err := p.moduleDir(ctx)
	if err != nil {
		return "", fmt.Errorf("find chart: %w", err)
	}
	dir := filepath.Join(module, filepath.FromSlash(folder))
	if _, err := os.Stat(filepath.Join(dir, "Chart.yaml")); err != nil {
		return "", fmt.Errorf("find chart: %w", err)
	}
	return dir, nil
}
