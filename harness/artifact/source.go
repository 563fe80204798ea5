// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"errors"
	"fmt"
)

// Source is where components come from.
type Source string

// The sources of components.
const (
	Auto     Source = "auto"
	Registry Source = "registry"  // container images and charts from their registries
	GoModule Source = "go-module" // built from the Go modules their projects publish
)

// provider knows how to get the programs of a component: static binaries in one
// folder. It only says how, so that keys are known before anything is made.
type provider interface {
	programs(ctx context.Context, component, version string) (recipe, error)
}

// ErrNoRegistry says that the registry source does not exist yet.
var ErrNoRegistry = errors.New("components from a container registry are not available yet; use the go-module source")

func newProvider(source Source) (provider, error) {
	switch source {
	case "", Auto, GoModule:
		return moduleProvider{}, nil
	case Registry:
		return nil, ErrNoRegistry
	}
	return nil, fmt.Errorf("unknown source %q (one of %s, %s, %s)", source, Auto, Registry, GoModule)
}
