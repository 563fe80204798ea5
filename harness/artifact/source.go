// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"errors"
	"fmt"

	"github.com/lbmatrix/lbmatrix/harness/artifact/gobuild"
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

func newProvider(source Source, c *carried) (provider, error) {
	switch source {
	case "", Auto, GoModule:
		if c != nil {
			return moduleProvider{goVersion: func(context.Context) (string, error) { return c.Go, nil }}, nil
		}
		return moduleProvider{goVersion: gobuild.Version}, nil
	case Registry:
		return nil, ErrNoRegistry
	}
	_, err := ParseSource(string(source))
	return nil, err
}
