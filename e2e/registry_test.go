// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package e2e

import (
	"bytes"
	"context"
	"io"
	"os"
	"path"
	"path/filepath"
	"testing"

	ociname "github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart/loader"

	"github.com/lbmatrix/lbmatrix/e2e/lbmatrix"
	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/artifact/fetch/fetchtest"
	"github.com/lbmatrix/lbmatrix/harness/artifact/pins"
	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// TestRegistrySource runs a scenario from a registry and a chart repository on loopback.
// They hold what the go-module source builds, under the names the projects publish: what
// differs from the real ones is the content, not the way of it.
func TestRegistrySource(t *testing.T) {
	if os.Getenv("LBMATRIX_TEST_REGISTRY") == "" {
		t.Skip("set LBMATRIX_TEST_REGISTRY=1 to fill a registry on loopback and run a real cluster from it")
	}
	const name = "kube-proxy-iptables-metallb-l2"
	ctx := t.Context()
	all, err := runner.Choose([]string{name}, nil)
	require.NoError(t, err)
	set := runner.SetOf(all[0], scenario.ProviderKind)
	d, err := docker.Find(ctx)
	require.NoError(t, err)
	dir := t.TempDir()
	world, err := fetchtest.Serve(dir)
	require.NoError(t, err)
	defer world.Close()
	publish(ctx, t, world, d, set, dir)

	o := lbmatrix.Options{
		Scenarios: []string{name}, Source: string(artifact.Registry), Mirrors: world.Mirrors(), Pins: filepath.Join(dir, "pins.yaml"),
		Results: results(), SkipMutations: true,
	}
	pinAll(ctx, t, set, o)
	lbmatrix.Run(t, o)
}

// TestRegistryPrograms runs a scenario on namespaces with programs out of images of a
// registry on loopback.
func TestRegistryPrograms(t *testing.T) {
	if os.Getenv("LBMATRIX_TEST_REGISTRY") == "" {
		t.Skip("set LBMATRIX_TEST_REGISTRY=1 to fill a registry on loopback and run a real cluster from it")
	}
	const name = "kube-proxy-nftables-metallb-l2"
	ctx := t.Context()
	all, err := runner.Choose([]string{name}, nil)
	require.NoError(t, err)
	set := runner.SetOf(all[0], scenario.ProviderNetns)
	dir := t.TempDir()
	world, err := fetchtest.Serve(dir)
	require.NoError(t, err)
	defer world.Close()
	built, err := artifact.Open(artifact.Options{Source: artifact.GoModule})
	require.NoError(t, err)
	programs, err := built.Programs(ctx, set)
	require.NoError(t, err)
	o := lbmatrix.Options{
		Scenarios: []string{name}, Source: string(artifact.Registry), Mirrors: world.Mirrors(), Pins: filepath.Join(dir, "pins.yaml"),
		Provider: scenario.ProviderNetns, Results: results(), SkipMutations: true,
	}
	store, err := artifact.Open(artifact.Options{Source: artifact.Registry, Mirrors: o.Mirrors, Pins: o.Pins})
	require.NoError(t, err)
	published, err := store.Published(set)
	require.NoError(t, err)
	for _, p := range published {
		ref, err := ociname.ParseReference(p.Name)
		if err != nil {
			continue // a chart
		}
		program := path.Base(ref.Context().RepositoryStr())
		raw, err := os.ReadFile(programs[program])
		require.NoError(t, err)
		require.NoError(t, world.PushProgram(ref.Context().RepositoryStr()+":"+ref.Identifier(), "usr/local/bin/"+program, raw))
	}
	publishCharts(ctx, t, world, built, set)
	pinAll(ctx, t, set, o)
	lbmatrix.Run(t, o)
}

// pinAll pins what a registry serves of a set.
func pinAll(ctx context.Context, t *testing.T, set artifact.Set, o lbmatrix.Options) {
	t.Helper()
	store, err := artifact.Open(artifact.Options{Source: artifact.Registry, Mirrors: o.Mirrors, Pins: o.Pins})
	require.NoError(t, err)
	published, err := store.Published(set)
	require.NoError(t, err)
	var digests pins.Pins
	for _, p := range published {
		digest, err := store.Served(ctx, p)
		require.NoError(t, err)
		digests = digests.With(p.Name, digest)
	}
	require.NoError(t, digests.WriteFile(o.Pins))
}

// publish fills a registry with what the go-module source makes of a set.
func publish(ctx context.Context, t *testing.T, world *fetchtest.World, d *docker.Client, set artifact.Set, dir string) {
	t.Helper()
	store, err := artifact.Open(artifact.Options{Source: artifact.GoModule})
	require.NoError(t, err)
	// The bare node, as kind publishes it: without components.
	node, err := store.NodeImages(ctx, d, artifact.Set{Kubernetes: set.Kubernetes})
	require.NoError(t, err)
	archive := filepath.Join(dir, "node.tar")
	_, err = d.Output(ctx, "save", "--output", archive, node.ControlPlane)
	require.NoError(t, err)
	img, err := tarball.ImageFromPath(archive, nil)
	require.NoError(t, err)
	require.NoError(t, world.Push("kindest/node:"+set.Kubernetes, img))
	require.NoError(t, os.Remove(archive))

	var saved bytes.Buffer
	refs, err := store.Save(ctx, set, &saved)
	require.NoError(t, err)
	for _, ref := range refs {
		tag, err := ociname.NewTag(ref)
		require.NoError(t, err)
		img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(saved.Bytes())), nil }, &tag)
		require.NoError(t, err)
		require.NoError(t, world.Push(tag.RepositoryStr()+":"+tag.TagStr(), img))
	}
	publishCharts(ctx, t, world, store, set)
}

func publishCharts(ctx context.Context, t *testing.T, world *fetchtest.World, store *artifact.Store, set artifact.Set) {
	t.Helper()
	for component, version := range set.Components {
		folder, err := store.Chart(ctx, component, version)
		require.NoError(t, err)
		ch, err := loader.Load(folder)
		require.NoError(t, err)
		ch.Metadata.Version = version[1:]
		require.NoError(t, world.AddChart(component, ch))
	}
}
