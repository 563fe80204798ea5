// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart/loader"
	"sigs.k8s.io/kind/pkg/apis/config/defaults"

	"github.com/lbmatrix/lbmatrix/fixtures"
	"github.com/lbmatrix/lbmatrix/harness/artifact/fetch/fetchtest"
	"github.com/lbmatrix/lbmatrix/harness/artifact/pins"
	"github.com/lbmatrix/lbmatrix/harness/docker"
)

// metallbSet is a set that needs a node image, two images and a chart.
func metallbSet() Set {
	return Set{Kubernetes: "v1.35.4", Components: map[string]string{"metallb": "v0.15.2"}}
}

// world is what is published, and how to reach it.
type world struct {
	*fetchtest.World
	options Options
}

func published(t *testing.T) world {
	t.Helper()
	home := t.TempDir()
	for k, v := range map[string]string{ // not HOME: the go command keeps its cache there
		"DOCKER_CONFIG": home, "REGISTRY_AUTH_FILE": "", "DOCKER_HOST": "unix:///no/such/docker.sock",
		"HELM_REGISTRY_CONFIG": filepath.Join(home, "none"), "HELM_REPOSITORY_CONFIG": filepath.Join(home, "none"),
	} {
		t.Setenv(k, v)
	}
	served, err := fetchtest.Serve(filepath.Join(home, "served"))
	require.NoError(t, err)
	t.Cleanup(served.Close)
	require.NoError(t, served.AddMetalLB("v1.35.4", "v0.15.2"))
	return world{World: served, options: Options{
		Dir: filepath.Join(home, "cache"), Source: Registry, Pins: filepath.Join(home, "pins.yaml"), ProbePackage: "./fixtures/node/pause",
		Mirrors: served.Mirrors(),
	}}
}

// pin writes down what is served of a set, as `lbmatrix images pin` does.
func (w world) pin(t *testing.T, set Set) pins.Pins {
	t.Helper()
	s, err := Open(w.options)
	require.NoError(t, err)
	all, err := s.Published(set)
	require.NoError(t, err)
	var p pins.Pins
	for _, one := range all {
		digest, err := s.Served(t.Context(), one)
		require.NoError(t, err)
		p = p.With(one.Name, digest)
	}
	require.NoError(t, p.WriteFile(w.options.Pins))
	return p
}

func TestASetIsFetchedAsPinned(t *testing.T) {
	w := published(t)
	s, err := Open(w.options)
	require.NoError(t, err)
	err = s.Build(t.Context(), metallbSet())
	require.ErrorContains(t, err, "no digest is pinned for docker.io/kindest/node:v1.35.4")
	require.ErrorContains(t, err, "lbmatrix images pin")

	p := w.pin(t, metallbSet())
	require.Equal(t, []string{
		"docker.io/kindest/node:v1.35.4", "https://metallb.github.io/metallb/metallb:0.15.2",
		"quay.io/metallb/controller:v0.15.2", "quay.io/metallb/speaker:v0.15.2",
	}, p.Names())
	s, err = Open(w.options)
	require.NoError(t, err)
	require.NoError(t, s.Build(t.Context(), metallbSet()))
	dir, err := s.Chart(t.Context(), "metallb", "v0.15.2")
	require.NoError(t, err)
	loaded, err := loader.Load(dir)
	require.NoError(t, err)
	require.Equal(t, "metallb", loaded.Name())

	// What is there is not asked for again.
	w.Close()
	s, err = Open(w.options)
	require.NoError(t, err)
	require.NoError(t, s.Build(t.Context(), metallbSet()))
	var archive bytes.Buffer
	refs, err := s.Save(t.Context(), metallbSet(), &archive)
	require.NoError(t, err)
	require.Equal(t, []string{"quay.io/metallb/controller:v0.15.2", "quay.io/metallb/speaker:v0.15.2"}, refs[:2])
	tag, err := name.NewTag(refs[1])
	require.NoError(t, err)
	img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }, &tag)
	require.NoError(t, err)
	require.NoError(t, validate.Image(img))
	config, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, "65532", config.Config.User, "as whom it runs stays")
	require.Equal(t, []string{"/metallb/speaker:v0.15.2"}, config.Config.Entrypoint)
	layers, err := img.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 1)
}

func TestTheWrongDigestIsRefused(t *testing.T) {
	w := published(t)
	p := w.pin(t, metallbSet())
	ref := "quay.io/metallb/speaker:v0.15.2"
	moved, err := random.Image(500, 1)
	require.NoError(t, err)
	require.NoError(t, w.Push("metallb/speaker:v0.15.2", moved))
	s, err := Open(w.options)
	require.NoError(t, err)
	require.NoError(t, s.Build(t.Context(), metallbSet()), "what was pinned is still served by its digest")

	require.NoError(t, p.With(ref, "sha256:"+strings.Repeat("0", 64)).WriteFile(w.options.Pins))
	s, err = Open(w.options)
	require.NoError(t, err)
	err = s.Build(t.Context(), metallbSet())
	require.ErrorContains(t, err, "the pinned one is sha256:000")
	require.ErrorContains(t, err, "images pin --update")
	list, err := s.List(t.Context())
	require.NoError(t, err)
	require.False(t, slices.ContainsFunc(list, func(m Meta) bool { return strings.Contains(m.Version, "00000000") }))
}

func TestAutoSaysWhatItTakes(t *testing.T) {
	w := published(t)
	w.options.Source = Auto
	source, why, err := Decide(t.Context(), w.options, []Set{metallbSet()})
	require.NoError(t, err)
	require.Equal(t, GoModule, source)
	require.Contains(t, why, "no digest is pinned for")
	w.pin(t, metallbSet())
	source, why, err = Decide(t.Context(), w.options, []Set{metallbSet()})
	require.NoError(t, err)
	require.Equal(t, Registry, source)
	require.Contains(t, why, "metallb.github.io")
	w.Close()
	source, why, err = Decide(t.Context(), w.options, []Set{metallbSet()})
	require.NoError(t, err)
	require.Equal(t, GoModule, source)
	require.Contains(t, why, "does not answer")
	w.options.Source = GoModule
	source, why, err = Decide(t.Context(), w.options, nil)
	require.NoError(t, err)
	require.Equal(t, GoModule, source)
	require.Empty(t, why)
}

// ownImage is an image with one file, and one that the file's upper layer removes.
func ownImage(t *testing.T, content string) v1.Image {
	t.Helper()
	img, err := image{ref: "x/x:x", files: []file{text("who", content, 0o644), text("gone", "", 0o644)}, entrypoint: []string{"/who"}}.build()
	require.NoError(t, err)
	over, err := newLayer("", []file{text(".wh.gone", "", 0o644), text("new", "n", 0o600)})
	require.NoError(t, err)
	img, err = mutate.AppendLayers(img, over)
	require.NoError(t, err)
	return img
}

func TestOwnImagesStandIn(t *testing.T) {
	w := published(t)
	w.pin(t, metallbSet())
	archive := filepath.Join(t.TempDir(), "mine.tar")
	controller, err := name.NewTag("example.org/me/controller:dev")
	require.NoError(t, err)
	speaker, err := name.NewTag("example.org/me/speaker:dev")
	require.NoError(t, err)
	require.NoError(t, tarball.MultiWriteToFile(archive, map[name.Tag]v1.Image{controller: ownImage(t, "controller"), speaker: ownImage(t, "speaker")}))
	own, err := ParseOwnImage("metallb/speaker=" + archive)
	require.NoError(t, err)
	w.options.Own = Own{Images: []OwnImage{own}}
	s, err := Open(w.options)
	require.NoError(t, err)
	all, err := s.Published(metallbSet())
	require.NoError(t, err)
	require.False(t, slices.ContainsFunc(all, func(p Published) bool { return strings.Contains(p.Name, "speaker") }), "nobody asks for what is replaced")

	f, err := s.fetchedSet(t.Context(), nil, metallbSet())
	require.NoError(t, err)
	require.Equal(t, map[string]string{"who": "speaker", "new": "n"}, content(t, s, f, "quay.io/metallb/speaker:v0.15.2"))

	// By reference from a registry, without a Docker daemon.
	require.NoError(t, w.Push("me/speaker:dev", ownImage(t, "pushed")))
	own, err = ParseOwnImage("metallb=" + w.Address + "/me/speaker:dev")
	require.NoError(t, err)
	require.Equal(t, "speaker", own.Image)
	w.options.Own = Own{Images: []OwnImage{own}}
	s, err = Open(w.options)
	require.NoError(t, err)
	f, err = s.fetchedSet(t.Context(), nil, metallbSet())
	require.NoError(t, err)
	require.Equal(t, "pushed", content(t, s, f, "quay.io/metallb/speaker:v0.15.2")["who"])

	before, after := f, f
	before.probe, after.probe = program{digest: strings.Repeat("p", 64)}, program{digest: strings.Repeat("p", 64)}
	before.standIns = nil
	_, n := before.names()
	_, m := after.names()
	require.NotEqual(t, n.Worker, m.Worker, "another image, another node")
	require.Len(t, m.Own, 1)
	require.Contains(t, m.Own["metallb/speaker"], "/me/speaker:dev sha256:")
}

// A reference is taken from the Docker daemon where that holds it: what was just built is
// in no registry.
func TestOwnImageFromTheDaemon(t *testing.T) {
	w := published(t)
	bin := t.TempDir()
	archive := filepath.Join(bin, "built.tar")
	tag, err := name.NewTag("example.org/me/speaker:dev")
	require.NoError(t, err)
	require.NoError(t, tarball.WriteToFile(archive, tag, ownImage(t, "built")))
	script := `#!/bin/sh
case "$1 $2" in
"image inspect") [ "$5" = example.org/me/speaker:dev ] && echo sha256:` + strings.Repeat("5", 64) + ` ;;
"save --output") cp ` + archive + ` "$3" ;;
*) exit 1 ;;
esac
`
	require.NoError(t, os.WriteFile(filepath.Join(bin, "docker"), []byte(script), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	own, err := ParseOwnImage("metallb=example.org/me/speaker:dev")
	require.NoError(t, err)
	w.options.Own = Own{Images: []OwnImage{own}}
	s, err := Open(w.options)
	require.NoError(t, err)
	all, err := s.standIns(t.Context(), &docker.Client{Host: "unix:///no/such"}, metallbSet())
	require.NoError(t, err)
	got := all["quay.io/metallb/speaker:v0.15.2"]
	require.Equal(t, "sha256:"+strings.Repeat("5", 64), got.digest)
	require.Equal(t, "built", content(t, s, fetchedSet{standIns: all}, "quay.io/metallb/speaker:v0.15.2")["who"])

	other, err := s.standIns(t.Context(), nil, Set{Components: map[string]string{"cilium": "v1.19.1"}})
	require.NoError(t, err)
	require.Empty(t, other, "of a component that the set has not")
}

// With go-module, a component whose every image is the user's own is not built, so that
// it need not be pinned either.
func TestNothingIsBuiltForWhatIsWhollyOwn(t *testing.T) {
	w := published(t)
	w.options.Source = GoModule
	for _, image := range []string{"controller", "speaker"} {
		archive := filepath.Join(t.TempDir(), image+".tar")
		tag, err := name.NewTag("example.org/" + image + ":dev")
		require.NoError(t, err)
		require.NoError(t, tarball.WriteToFile(archive, tag, ownImage(t, image)))
		own, err := ParseOwnImage("metallb=" + archive)
		require.NoError(t, err)
		w.options.Own.Images = append(w.options.Own.Images, own)
	}
	s, err := Open(w.options)
	require.NoError(t, err)
	set := metallbSet()
	set.Components["metallb"] = "v99.0.0"
	p, err := s.plan(t.Context(), nil, set)
	require.NoError(t, err)
	p.probe = program{digest: strings.Repeat("p", 64)}
	require.NotContains(t, p.recipes, "metallb")
	require.Len(t, p.standIns, 2)
	images, err := p.addonImages(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, images, 2)
	require.Equal(t, "quay.io/metallb/controller:v99.0.0", images[0].ref)
	names := p.names()
	p.standIns = nil
	require.NotEqual(t, names.common, p.names().common)
}

// content is what is in an image that a set's nodes get, by the way it gets there.
func content(t *testing.T, s *Store, f fetchedSet, ref string) map[string]string {
	t.Helper()
	images, err := s.contents(t.Context(), f)
	require.NoError(t, err)
	var archive bytes.Buffer
	require.NoError(t, writeImages(&archive, images))
	tag, err := name.NewTag(ref)
	require.NoError(t, err)
	img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }, &tag)
	require.NoError(t, err)
	layers, err := img.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 1)
	r, err := layers[0].Uncompressed()
	require.NoError(t, err)
	out := map[string]string{}
	for files := tar.NewReader(r); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		data, err := io.ReadAll(files)
		require.NoError(t, err)
		out[h.Name] = string(data)
	}
}

func TestOwnImagesThatAreNone(t *testing.T) {
	two := filepath.Join(t.TempDir(), "two.tar")
	a, err := name.NewTag("example.org/a:1")
	require.NoError(t, err)
	b, err := name.NewTag("example.org/b:1")
	require.NoError(t, err)
	require.NoError(t, tarball.MultiWriteToFile(two, map[name.Tag]v1.Image{a: ownImage(t, "a"), b: ownImage(t, "b")}))
	for spec, want := range map[string]string{
		"metallb":                        "want COMPONENT[/IMAGE]=",
		"=x":                             "want COMPONENT[/IMAGE]=",
		"nosuch=x":                       "known are cilium, metallb",
		"metallb=example.org/frr:1":      "metallb has the images controller, speaker: write metallb/IMAGE=",
		"metallb/frr=example.org/frr:1":  "metallb has the images controller, speaker",
		"metallb/speaker=no such: ref":   "neither a file nor an image reference",
		"metallb/speaker=/no/such.tar":   "no such file",
		"cilium=example.org/me/cilium:1": "",
		"metallb/speaker=" + two:         "",
		"metallb=example.org/speaker@sha256:" + strings.Repeat("1", 64): "",
	} {
		_, err := ParseOwnImage(spec)
		if want == "" {
			require.NoError(t, err, spec)
			continue
		}
		require.ErrorContains(t, err, want, spec)
	}
	_, err = tagInArchive(OwnImage{Component: "metallb", Image: "speaker", From: two})
	require.ErrorContains(t, err, "none of a name that ends in speaker")
	require.NoError(t, os.WriteFile(two, []byte("no archive"), 0o644))
	_, err = tagInArchive(OwnImage{Component: "metallb", Image: "speaker", From: two})
	require.ErrorContains(t, err, "no archive of images")

	require.ErrorContains(t, CheckChart(filepath.Join(t.TempDir(), "nosuch")), "there is no chart at")
	require.ErrorContains(t, CheckChart(t.TempDir()), "read chart at")
}

// What comes with lbmatrix was not looked up: kind's module names its default node image
// by digest.
func TestShippedPinsAreKinds(t *testing.T) {
	shipped, err := pins.Parse(fixtures.Pins)
	require.NoError(t, err)
	ref, digest, ok := strings.Cut(defaults.Image, "@")
	require.True(t, ok)
	require.Equal(t, digest, shipped.Digest("docker.io/"+ref))
	text, err := shipped.Text()
	require.NoError(t, err)
	require.Equal(t, string(fixtures.Pins), string(text), "as `lbmatrix images pin` writes it")
}

func TestEveryComponentIsPublished(t *testing.T) {
	for component, a := range addons() {
		require.NotEmpty(t, a.refs, component)
		require.Equal(t, component, a.published.Name)
		for image := range maps.Keys(a.refs) {
			require.Equal(t, image, imageName(a.ref(image, "v1")), component)
		}
	}
}
