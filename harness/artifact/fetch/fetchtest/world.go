// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package fetchtest serves a container registry and a chart repository on loopback,
// which stand for those of the internet in tests.
package fetchtest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/repo"
)

// World is a registry, and a folder of chart repositories.
type World struct {
	*httptest.Server
	Address string // host:port
	Charts  string // folder; the repository x is served at URL/x
}

// Serve starts one. dir, an empty folder, is where it keeps what it is given: blobs of
// node images are too large for memory. The caller closes it.
func Serve(dir string) (*World, error) {
	w := &World{Charts: filepath.Join(dir, "charts")}
	blobs := filepath.Join(dir, "blobs")
	for _, sub := range []string{w.Charts, blobs} {
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return nil, fmt.Errorf("serve registry: %w", err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/v2/", registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs))))
	mux.Handle("/", http.FileServer(http.Dir(w.Charts)))
	w.Server = httptest.NewServer(mux)
	w.Address = strings.TrimPrefix(w.URL, "http://")
	return w, nil
}

// Push puts an image into the registry under a path and tag.
func (w *World) Push(ref string, img v1.Image) error {
	at, err := name.ParseReference(w.Address + "/" + ref)
	if err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	if err := remote.Write(at, img); err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	return nil
}

// PushProgram puts an image into the registry that holds one program, at a path below its
// root, and a link to it.
func (w *World) PushProgram(ref, at string, program []byte) error {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeReg, Name: at, Mode: 0o755, Size: int64(len(program))},
		{Typeflag: tar.TypeSymlink, Name: "bin/" + path.Base(at), Linkname: "/" + at, Mode: 0o777},
		{Typeflag: tar.TypeReg, Name: "usr/share/doc/" + path.Base(at), Mode: 0o644},
	} {
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("push %s: %w", ref, err)
		}
		if h.Size > 0 {
			if _, err := t.Write(program); err != nil {
				return fmt.Errorf("push %s: %w", ref, err)
			}
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	config.Architecture, config.OS = runtime.GOARCH, "linux"
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	return w.Push(ref, img)
}

// AddChart adds a chart to a repository and renews its index.
func (w *World) AddChart(repository string, ch *chart.Chart) error {
	dir := filepath.Join(w.Charts, repository)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("add chart: %w", err)
	}
	if _, err := chartutil.Save(ch, dir); err != nil {
		return fmt.Errorf("add chart: %w", err)
	}
	index, err := repo.IndexDirectory(dir, "")
	if err != nil {
		return fmt.Errorf("add chart: %w", err)
	}
	if err := index.WriteFile(filepath.Join(dir, "index.yaml"), 0o644); err != nil {
		return fmt.Errorf("add chart: %w", err)
	}
	return nil
}

// Mirrors make the world stand for the hosts that MetalLB's scenarios ask.
func (w *World) Mirrors() []string {
	return []string{
		"docker.io=" + w.Address, "quay.io=" + w.Address, "registry.k8s.io=" + w.Address, "gcr.io=" + w.Address,
		"metallb.github.io=" + w.URL,
	}
}

// AddMetalLB publishes what a scenario with MetalLB needs: images that hold random bytes
// and run as 65532, and an empty chart.
func (w *World) AddMetalLB(kubernetes, metallb string) error {
	for _, ref := range []string{"kindest/node:" + kubernetes, "metallb/controller:" + metallb, "metallb/speaker:" + metallb} {
		img, err := random.Image(1000, 2)
		if err != nil {
			return err
		}
		config, err := img.ConfigFile()
		if err != nil {
			return err
		}
		config.Architecture, config.OS, config.Config.User, config.Config.Entrypoint = runtime.GOARCH, "linux", "65532", []string{"/" + ref}
		if img, err = mutate.ConfigFile(img, config); err != nil {
			return err
		}
		if err := w.Push(ref, img); err != nil {
			return err
		}
	}
	return w.AddChart("metallb", &chart.Chart{Metadata: &chart.Metadata{APIVersion: "v2", Name: "metallb", Version: strings.TrimPrefix(metallb, "v")}})
}
