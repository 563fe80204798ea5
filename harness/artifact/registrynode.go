// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/lbmatrix/lbmatrix/fixtures"
	"github.com/lbmatrix/lbmatrix/harness/artifact/fetch"
	"github.com/lbmatrix/lbmatrix/harness/docker"
)

// registryRecipe changes when the way fetched node images are completed does.
const registryRecipe = "registry-1"

// fetchedSet is what a set is made of with the registry source.
type fetchedSet struct {
	version  string
	node     string            // reference of the node image
	digest   string            // pinned, of the node image
	images   map[string]string // reference -> pinned digest, of the components' images
	standIns map[string]standIn
	runc     program
	probe    program
	script   []byte
}

func (s *Store) fetchedSet(ctx context.Context, d *docker.Client, set Set) (fetchedSet, error) {
	published, err := s.Published(set)
	if err != nil {
		return fetchedSet{}, err
	}
	f := fetchedSet{version: cmp.Or(set.Kubernetes, usual("kubernetes")), images: map[string]string{}}
	for _, p := range published {
		switch {
		case p.Pinned == "":
			return fetchedSet{}, s.registries.unpinned(set, p.Name)
		case p.chart != nil:
		case f.node == "": // the first of the list
			f.node, f.digest = p.Name, p.Pinned
		default:
			f.images[p.Name] = p.Pinned
		}
	}
	if f.standIns, err = s.standIns(ctx, d, set); err != nil {
		return fetchedSet{}, err
	}
	return f, nil
}

// additions are the project's own programs, and the script that puts them in place.
func (f *fetchedSet) additions(ctx context.Context, s *Store) (err error) {
	if f.runc, err = s.program(ctx, "lbrunc", "./cmd/lbrunc"); err != nil {
		return err
	}
	if f.probe, err = s.program(ctx, "lbprobe", s.probe); err != nil {
		return err
	}
	for _, name := range []string{"node/adopt.sh", "node/bake.sh"} {
		part, err := fixtures.Node.ReadFile(name)
		if err != nil {
			return err
		}
		f.script = append(f.script, part...)
	}
	return nil
}

// contents fetches the images of a set's components, the user's own among them.
func (s *Store) contents(ctx context.Context, f fetchedSet) ([]image, error) {
	var out []image
	for _, ref := range slices.Sorted(maps.Keys(f.images)) {
		dir, err := s.fetchedImage(ctx, ref, f.images[ref])
		if err != nil {
			return nil, err
		}
		img, err := fetch.Open(dir)
		if err != nil {
			return nil, err
		}
		out = append(out, image{ref: ref, made: img})
	}
	own, err := standInImages(f.standIns)
	return append(out, own...), err
}

// standInImages are own builds under the names they stand in for.
func standInImages(all map[string]standIn) ([]image, error) {
	var out []image
	for _, ref := range slices.Sorted(maps.Keys(all)) {
		img, err := all[ref].open()
		if err != nil {
			return nil, fmt.Errorf("open own image %s: %w", all[ref].From, err)
		}
		out = append(out, image{ref: ref, made: img})
	}
	return out, nil
}

// names are the references in the daemon: of the node image as it was fetched, and
// of the one that nodes run.
func (f fetchedSet) names() (fetched string, n NodeImages) {
	base := hashStrings(registryRecipe, runtime.GOARCH, f.node, f.digest)
	all := []string{base, string(f.script), f.runc.digest, f.probe.digest}
	for _, ref := range slices.Sorted(maps.Keys(f.images)) {
		all = append(all, ref, f.images[ref])
	}
	all = append(all, standInKey(f.standIns)...)
	node := "lbmatrix/node:" + f.version + "-" + hashStrings(all...)[:keyLength]
	probe := probeRef(f.probe)
	return "lbmatrix/node-fetched:" + f.version + "-" + base[:keyLength],
		NodeImages{ControlPlane: node, Worker: node, Probe: probe, ProbeInCluster: probe, Kubernetes: f.version, Own: ownNames(f.standIns)}
}

func probeRef(p program) string { return "lbmatrix/lbprobe:" + p.digest[:keyLength] }

// standInKey is what own builds add to the key of the images they are baked into.
func standInKey(all map[string]standIn) []string {
	var out []string
	for _, ref := range slices.Sorted(maps.Keys(all)) {
		out = append(out, ref, all[ref].digest, all[ref].tag)
	}
	return out
}

// ownNames say for a report which own builds ran.
func ownNames(all map[string]standIn) map[string]string {
	out := map[string]string{}
	for _, b := range all {
		out[b.Component+"/"+b.Image] = b.From + " " + b.digest
	}
	return out
}

// fetchedNodeImages loads the published node image into the daemon and bakes into it what
// the set adds: every node can be either, as kind's own are.
func (s *Store) fetchedNodeImages(ctx context.Context, d *docker.Client, set Set) (NodeImages, error) {
	f, err := s.fetchedSet(ctx, d, set)
	if err == nil {
		err = f.additions(ctx, s)
	}
	if err != nil {
		return NodeImages{}, fmt.Errorf("plan node images: %w", err)
	}
	fetched, n := f.names()
	if err := s.ensureImage(ctx, d, n.Probe, func(ctx context.Context, _ func(string)) error {
		return feed(ctx, d, func(w io.Writer) error { return writeImages(w, []image{probeImage(f.probe)}) }, "load")
	}); err != nil {
		return NodeImages{}, err
	}
	held, err := d.HasImage(ctx, n.Worker)
	if err != nil {
		return NodeImages{}, fmt.Errorf("make node images: %w", err)
	}
	if held {
		s.report(Event{Artifact: "image " + n.Worker, State: Cached})
		return n, nil
	}
	dir, err := s.fetchedImage(ctx, f.node, f.digest)
	if err != nil {
		return NodeImages{}, err
	}
	contents, err := s.contents(ctx, f)
	if err != nil {
		return NodeImages{}, err
	}
	if err := s.ensureImage(ctx, d, fetched, func(ctx context.Context, note func(string)) error {
		img, err := fetch.Open(dir)
		if err != nil {
			return err
		}
		note("loading " + f.node)
		return feed(ctx, d, func(w io.Writer) error { return writeAs(w, fetched, img) }, "load")
	}); err != nil {
		return NodeImages{}, err
	}
	b := bake{
		from: fetched, to: n.Worker, images: append(contents, probeImage(f.probe)), script: f.script,
		files: []file{{path: "usr/local/bin/lbprobe", source: f.probe.path}, {path: "kind/lbrunc", source: f.runc.path}},
	}
	return n, s.ensureImage(ctx, d, b.to, func(ctx context.Context, note func(string)) error { return b.run(ctx, d, note) })
}

func probeImage(p program) image { return programImage(probeRef(p), p.path, "/lbprobe") }

// writeAs writes an image, layers and all, as `docker load` reads it, under another name
// and with the project's label.
func writeAs(w io.Writer, ref string, img v1.Image) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	if img, err = mutate.ConfigFile(img, labelled(config)); err != nil {
		return err
	}
	return tarball.Write(tag, img, w)
}
