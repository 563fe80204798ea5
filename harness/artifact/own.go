// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"helm.sh/helm/v3/pkg/chart/loader"

	"github.com/lbmatrix/lbmatrix/harness/artifact/fetch"
	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
	"github.com/lbmatrix/lbmatrix/harness/docker"
)

// Own are the user's own builds, which stand in for what a component publishes: pods
// run them under the names that the chart asks for.
type Own struct {
	Images []OwnImage
	Charts map[string]string // component -> a chart's folder or archive
}

// OwnImage is a build of one image of a component.
type OwnImage struct {
	Component string // e.g. metallb
	Image     string // e.g. speaker
	From      string // an archive as `docker save` writes it, or a reference: in the Docker daemon, else in its registry
}

// ParseOwnImage reads COMPONENT[/IMAGE]=REFERENCE|ARCHIVE. Without IMAGE the build stands
// in for the image that its name ends in, or for the only one there is.
func ParseOwnImage(spec string) (OwnImage, error) {
	fail := func(format string, args ...any) (OwnImage, error) {
		return OwnImage{}, fmt.Errorf("own image %q: %s", spec, fmt.Sprintf(format, args...))
	}
	target, from, ok := strings.Cut(spec, "=")
	component, image, _ := strings.Cut(target, "/")
	if !ok || component == "" || from == "" {
		return fail("want COMPONENT[/IMAGE]=REFERENCE or =ARCHIVE, for example metallb/speaker=example.org/speaker:dev")
	}
	a, err := lookupAddon(component)
	if err != nil {
		return fail("%v", err)
	}
	known := slices.Sorted(maps.Keys(a.refs))
	if isArchive(from) {
		if _, err := os.Stat(from); err != nil {
			return fail("%v", err)
		}
	} else if _, err := name.ParseReference(from); err != nil {
		return fail("it is neither a file nor an image reference: %v", err)
	}
	if image == "" && len(known) == 1 {
		image = known[0]
	}
	if image == "" {
		image = imageName(from)
	}
	if !slices.Contains(known, image) {
		return fail("%s has the images %s: write %s/IMAGE=...", component, strings.Join(known, ", "), component)
	}
	return OwnImage{Component: component, Image: image, From: from}, nil
}

// isArchive tells an archive from a reference: a file of that name is there, or the name
// is one of an archive.
func isArchive(from string) bool {
	info, err := os.Stat(from)
	return (err == nil && info.Mode().IsRegular()) || strings.HasSuffix(from, ".tar") || strings.HasPrefix(from, "./") || strings.HasPrefix(from, "/")
}

// imageName is the last part of a reference's repository, or of an archive's name.
func imageName(from string) string {
	if isArchive(from) {
		return strings.TrimSuffix(filepath.Base(from), ".tar")
	}
	base, _, _ := strings.Cut(path.Base(from), "@")
	base, _, _ = strings.Cut(base, ":")
	return base
}

// CheckChart says whether Helm can read a chart.
func CheckChart(path string) error {
	if _, err := loader.Load(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no chart at %s: want a chart's folder or its .tgz archive", path)
		}
		return fmt.Errorf("read chart at %s: %w", path, err)
	}
	return nil
}

// stands says whether a build stands in for an image.
func (o Own) stands(component, image string) bool {
	return slices.ContainsFunc(o.Images, func(i OwnImage) bool { return i.Component == component && i.Image == image })
}

// whole says whether builds stand in for every image of a component: then nothing of it
// need be built or fetched.
func (o Own) whole(component string, a addon) bool {
	for image := range a.refs {
		if !o.stands(component, image) {
			return false
		}
	}
	return len(a.refs) > 0
}

// standIn is an own build that was found.
type standIn struct {
	OwnImage
	digest string // of its content
	dir    string // of the artifact that holds it
	tag    string // its name in an archive of several; "" for the only one
	remote bool   // fetched from a registry, not an archive
}

const ownArchive = "image.tar"

// standIns finds the own builds of a set's components, and takes copies: what the user
// builds next changes nothing of a run that has begun. d may be nil.
func (s *Store) standIns(ctx context.Context, d *docker.Client, set Set) (map[string]standIn, error) {
	out := map[string]standIn{}
	if d == nil && len(s.own.Images) > 0 {
		found, err := docker.Find(ctx)
		if err != nil && !errors.Is(err, docker.ErrNoDaemon) {
			return nil, err
		}
		d = found // nil without one: then a reference is one of a registry
	}
	for _, o := range s.own.Images {
		version, used := set.Components[o.Component]
		if !used {
			continue
		}
		a, err := lookupAddon(o.Component)
		if err != nil {
			return nil, err
		}
		found, err := s.standIn(ctx, d, o)
		if err != nil {
			return nil, fmt.Errorf("find own image %s/%s: %w", o.Component, o.Image, err)
		}
		out[a.ref(o.Image, version)] = found
	}
	return out, nil
}

func (s *Store) standIn(ctx context.Context, d *docker.Client, o OwnImage) (standIn, error) {
	if isArchive(o.From) {
		digest, err := fileDigest(o.From)
		if err != nil {
			return standIn{}, err
		}
		tag, err := tagInArchive(o)
		if err != nil {
			return standIn{}, err
		}
		dir, err := s.ensure(ctx, s.ownRecipe(o, digest, func(_ context.Context, into string) error { return copyFile(o.From, into, 0o644) }))
		return standIn{OwnImage: o, digest: "sha256:" + digest, dir: dir, tag: tag}, err
	}
	if d != nil {
		if id, err := d.Output(ctx, "image", "inspect", "--format", "{{.Id}}", o.From); err == nil {
			dir, err := s.ensure(ctx, s.ownRecipe(o, id, func(ctx context.Context, into string) error {
				_, err := proc.Run(ctx, d.Command(ctx, "save", "--output", into, o.From))
				return err
			}))
			return standIn{OwnImage: o, digest: id, dir: dir}, err
		} else if ctx.Err() != nil {
			return standIn{}, err
		}
	}
	_, digest, _ := strings.Cut(o.From, "@")
	if digest == "" {
		var err error
		if digest, err = s.registries.client.ImageDigest(ctx, o.From); err != nil {
			return standIn{}, fmt.Errorf("no Docker daemon holds it, and: %w", err)
		}
	}
	dir, err := s.fetchedImage(ctx, o.From, digest)
	return standIn{OwnImage: o, digest: digest, dir: dir, remote: true}, err
}

func (s *Store) ownRecipe(o OwnImage, digest string, get func(ctx context.Context, into string) error) recipe {
	return recipe{
		name: "own-" + o.Component + "-" + o.Image, version: shortDigest(digest), inputs: []string{fetchedRecipe, digest},
		build: func(ctx context.Context, dir string, note func(string)) error {
			note("copying " + o.From)
			return get(ctx, filepath.Join(dir, ownArchive))
		},
	}
}

// tagInArchive finds the image in an archive: the only one, or the one whose name ends in
// the image's.
func tagInArchive(o OwnImage) (string, error) {
	manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(o.From) })
	if err != nil {
		return "", fmt.Errorf("%s is no archive of images as `docker save` writes it: %w", o.From, err)
	}
	if len(manifest) == 1 {
		return "", nil
	}
	var tags []string
	for _, m := range manifest {
		for _, t := range m.RepoTags {
			if base, _, _ := strings.Cut(path.Base(t), ":"); base == o.Image {
				return t, nil
			}
			tags = append(tags, t)
		}
	}
	return "", fmt.Errorf("%s holds %s, and none of a name that ends in %s", o.From, strings.Join(tags, ", "), o.Image)
}

// open reads the image of a build.
func (b standIn) open() (v1.Image, error) {
	if b.remote {
		return fetch.Open(b.dir)
	}
	file := filepath.Join(b.dir, ownArchive)
	if b.tag == "" {
		return tarball.ImageFromPath(file, nil)
	}
	tag, err := name.NewTag(b.tag)
	if err != nil {
		return nil, err
	}
	return tarball.ImageFromPath(file, &tag)
}
