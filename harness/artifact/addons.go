// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/artifact/fetch"
)

// addon is a component that is baked into the nodes because a scenario names it.
type addon struct {
	chart string // folder of its Helm chart in its module
	tags  string // build tags of its programs
	// flags are linker flags; {version} is the component's without its v.
	flags string
	// base is the system its images stand on; without a name they need none.
	base system
	// refs are the images that its chart asks for by default, by the last part of their
	// names; {version} is the component's.
	refs map[string]string
	// published is the repository of its chart.
	published fetch.Chart
	// images makes them. The folder of the component's programs, its module's and its
	// base system's are given.
	images func(ctx context.Context, a addonFolders) ([]image, error)
}

type addonFolders struct {
	version  string
	programs string
	base     string
	module   func(ctx context.Context) (string, error)
}

// addons are the components that can be baked.
func addons() map[string]addon {
	metallb := map[string]string{
		"controller": "quay.io/metallb/controller:{version}",
		"speaker":    "quay.io/metallb/speaker:{version}",
	}
	return map[string]addon{
		"metallb": {
			chart:     "charts/metallb",
			refs:      metallb,
			published: fetch.Chart{Repository: "https://metallb.github.io/metallb", Name: "metallb"},
			images:    programImages(metallb),
		},
		"cilium": ciliumAddon(),
	}
}

// ref is the reference that the chart of a version asks for.
func (a addon) ref(image, version string) string {
	return strings.ReplaceAll(a.refs[image], "{version}", version)
}

func lookupAddon(component string) (addon, error) {
	a, ok := addons()[component]
	if !ok {
		return addon{}, fmt.Errorf("component %q cannot be baked into a node: known are %s", component,
			strings.Join(slices.Sorted(maps.Keys(addons())), ", "))
	}
	return a, nil
}

// baseName is the recipe of a component's base system, by the component.
func baseName(component string) string { return component + "-base" }

// programImages makes one image a program, which is all that is in it.
func programImages(refs map[string]string) func(context.Context, addonFolders) ([]image, error) {
	return func(_ context.Context, a addonFolders) ([]image, error) {
		var out []image
		for _, program := range slices.Sorted(maps.Keys(refs)) {
			ref := strings.ReplaceAll(refs[program], "{version}", a.version)
			out = append(out, programImage(ref, filepath.Join(a.programs, program), "/"+program))
		}
		return out, nil
	}
}
