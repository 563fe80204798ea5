// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/lbmatrix/lbmatrix/fixtures"
	"github.com/lbmatrix/lbmatrix/harness/artifact/fetch"
	"github.com/lbmatrix/lbmatrix/harness/artifact/pins"
)

// fetchedRecipe changes when the way fetched images and charts are kept does.
const fetchedRecipe = "fetched-1"

// nodeRepository is where kind publishes its node images, by Kubernetes version.
const nodeRepository = "docker.io/kindest/node"

// registries fetches what projects publish, by the digests that are pinned.
type registries struct {
	client *fetch.Client
	pins   pins.Pins
	file   string // of the user's pins, for messages
}

// openRegistries reads the pins: the user's, and where those say nothing the ones that
// come with lbmatrix.
func openRegistries(o Options) (*registries, error) {
	mirrors, err := fetch.ParseMirrors(o.Mirrors)
	if err != nil {
		return nil, err
	}
	shipped, err := pins.Parse(fixtures.Pins)
	if err != nil {
		return nil, err
	}
	file := o.Pins
	if file == "" {
		if file, err = pins.DefaultFile(); err != nil {
			return nil, err
		}
	}
	own, err := pins.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return &registries{client: fetch.New(fetch.Options{Mirrors: mirrors}), pins: own.Over(shipped), file: file}, nil
}

// Published is an image or a chart that a set takes from a registry or repository.
type Published struct {
	Name   string // as it is pinned
	Host   string
	Pinned string // digest; "" where there is none
	chart  *fetch.Chart
}

// Published lists what a set takes with the registry source: the node image and the images
// of its components, or the images that the programs of a cluster of processes are in; then
// the charts of its components. What the user's own builds stand in for is left out.
func (s *Store) Published(set Set) ([]Published, error) {
	images := s.nodeRefs
	if set.Processes {
		images = programRefs
	}
	refs, err := images(set)
	if err != nil {
		return nil, err
	}
	var out []Published
	for _, ref := range refs {
		out = append(out, s.publishedImage(ref))
	}
	for _, component := range slices.Sorted(maps.Keys(set.Components)) {
		a, err := lookupAddon(component)
		if err != nil {
			return nil, err
		}
		if s.own.Charts[component] == "" {
			ch := a.published
			ch.Version = strings.TrimPrefix(set.Components[component], "v")
			out = append(out, Published{Name: ch.String(), Host: ch.Host(), Pinned: s.registries.pins.Digest(ch.String()), chart: &ch})
		}
	}
	return out, nil
}

// nodeRefs are the node image, which comes first, and the images of the components.
func (s *Store) nodeRefs(set Set) ([]string, error) {
	out := []string{nodeRepository + ":" + cmp.Or(set.Kubernetes, usual(partKubernetes))}
	for _, component := range slices.Sorted(maps.Keys(set.Components)) {
		a, err := lookupAddon(component)
		if err != nil {
			return nil, err
		}
		for _, image := range slices.Sorted(maps.Keys(a.refs)) {
			if !s.own.stands(component, image) {
				out = append(out, a.ref(image, set.Components[component]))
			}
		}
	}
	return out, nil
}

func (s *Store) publishedImage(ref string) Published {
	host := ref
	if parsed, err := name.ParseReference(ref); err == nil {
		host = parsed.Context().RegistryStr()
	}
	return Published{Name: ref, Host: host, Pinned: s.registries.pins.Digest(ref)}
}

// Served asks what a name points at now.
func (s *Store) Served(ctx context.Context, p Published) (digest string, err error) {
	if p.chart != nil {
		return s.registries.client.ChartDigest(ctx, *p.chart)
	}
	return s.registries.client.ImageDigest(ctx, p.Name)
}

// unpinned is the error for what has no digest.
func (r *registries) unpinned(set Set, name string) error {
	return fmt.Errorf("no digest is pinned for %s: `%s` asks for it and writes it to %s", name, set.pinCommand(), r.file)
}

// pinCommand is what asks for the digests that a set needs.
func (s Set) pinCommand() string {
	if s.Processes {
		return "lbmatrix images pin --provider netns"
	}
	return "lbmatrix images pin"
}

// digest is what is pinned for an image or chart.
func (r *registries) digest(set Set, name string) (string, error) {
	digest := r.pins.Digest(name)
	if digest == "" {
		return "", r.unpinned(set, name)
	}
	return digest, nil
}

// fetchedImage is the folder of an image, fetched now if it is not there.
func (s *Store) fetchedImage(ctx context.Context, ref, digest string) (string, error) {
	repository, _, _ := strings.Cut(ref, "@")
	return s.ensure(ctx, recipe{
		name: "image-" + flat(repository), version: shortDigest(digest), inputs: []string{fetchedRecipe, ref, digest, runtime.GOARCH},
		build: func(ctx context.Context, dir string, note func(string)) error {
			note("fetching " + ref)
			_, err := s.registries.client.Image(ctx, ref, digest, dir, note)
			return err
		},
	})
}

const chartArchive = "chart.tgz"

// fetchedChart is the archive of a published chart.
func (s *Store) fetchedChart(ctx context.Context, component, version string) (string, error) {
	a, err := lookupAddon(component)
	if err != nil {
		return "", err
	}
	ch := a.published
	ch.Version = strings.TrimPrefix(version, "v")
	digest, err := s.registries.digest(Set{}, ch.String())
	if err != nil {
		return "", err
	}
	dir, err := s.ensure(ctx, recipe{
		name: "chart-" + component, version: version, inputs: []string{fetchedRecipe, ch.String(), digest},
		build: func(ctx context.Context, dir string, note func(string)) error {
			note("fetching " + ch.String())
			_, err := s.registries.client.ChartFile(ctx, ch, digest, filepath.Join(dir, chartArchive), note)
			return err
		},
	})
	return filepath.Join(dir, chartArchive), err
}

// flat makes a name that can be part of a file's.
func flat(name string) string { return strings.NewReplacer("/", "-", ":", "-").Replace(name) }

func shortDigest(digest string) string {
	return strings.TrimPrefix(digest, "sha256:")[:keyLength]
}
