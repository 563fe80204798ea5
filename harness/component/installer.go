// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package component installs what runs in a cluster under test: releases with the
// Helm SDK, MetalLB's configuration, and the workload behind the load balancer.
package component

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"helm.sh/helm/v3/pkg/chartutil"
	"sigs.k8s.io/yaml"
)

// Release is one Helm release.
type Release struct {
	Name      string
	Namespace string // created when missing
	ChartDir  string // a chart's folder or archive
	// The values, strongest first: Values (the scenario's), ValuesFile, Defaults
	// (the harness's), and last the chart's own.
	Values     map[string]any
	ValuesFile string
	Defaults   map[string]any
	// Within bounds the installation of the objects; not their start, which the
	// caller waits for. 2 minutes when zero.
	Within time.Duration
}

// Installer installs releases. It is the seam behind which the Helm SDK, and its
// version, stay.
type Installer interface {
	// Install makes the release's objects, or upgrades the release that is there. It
	// does not wait for pods.
	Install(ctx context.Context, r Release) error
	Uninstall(ctx context.Context, name, namespace string) error
	// Template renders the release without a cluster.
	Template(ctx context.Context, r Release) (string, error)
}

// mergeValues merges what the user and the harness say about a release; the chart's
// own values are Helm's to add. No argument is changed.
func mergeValues(r Release) (map[string]any, error) {
	merged := deepCopy(r.Values)
	if r.ValuesFile != "" {
		data, err := os.ReadFile(r.ValuesFile)
		if err != nil {
			return nil, fmt.Errorf("read values of %s: %w", r.Name, err)
		}
		file, err := chartutil.ReadValues(data)
		if err != nil {
			return nil, fmt.Errorf("read values of %s from %s: %w", r.Name, r.ValuesFile, err)
		}
		merged = overlay(merged, file)
	}
	return overlay(merged, r.Defaults), nil
}

// overlay adds to strong what only weak says.
func overlay(strong, weak map[string]any) map[string]any {
	if strong == nil {
		strong = map[string]any{}
	}
	for k, w := range deepCopy(weak) {
		s, set := strong[k]
		if !set {
			strong[k] = w
			continue
		}
		sm, sok := s.(map[string]any)
		wm, wok := w.(map[string]any)
		if sok && wok {
			strong[k] = overlay(sm, wm)
		}
	}
	return strong
}

func deepCopy(in map[string]any) map[string]any {
	out := make(map[string]any, len(in))
	for k, v := range in {
		if m, ok := v.(map[string]any); ok {
			v = deepCopy(m)
		}
		out[k] = v
	}
	return out
}

// saveValues writes what a release was installed with into the results.
func saveValues(dir, name string, values map[string]any) error {
	if dir == "" {
		return nil
	}
	data, err := yaml.Marshal(values)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+"-values.yaml"), data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("save values of %s: %w", name, err)
	}
	return nil
}
