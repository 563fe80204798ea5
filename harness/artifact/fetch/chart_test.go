// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	helmregistry "helm.sh/helm/v3/pkg/registry"
	"helm.sh/helm/v3/pkg/repo"
)

const errNoSpace = syscall.ENOSPC

// archive packs a chart as `helm package` does.
func archive(t *testing.T) []byte {
	t.Helper()
	file, err := chartutil.Save(&chart.Chart{Metadata: &chart.Metadata{APIVersion: "v2", Name: "metallb", Version: "0.15.2"}}, t.TempDir())
	require.NoError(t, err)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return data
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// repository serves a chart repository with one chart, for charts.example.
func repository(t *testing.T) (*host, *Client, Chart, string) {
	t.Helper()
	noCredentials(t)
	dir := t.TempDir()
	data := archive(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "metallb-0.15.2.tgz"), data, 0o644))
	index, err := repo.IndexDirectory(dir, "")
	require.NoError(t, err)
	require.NoError(t, index.WriteFile(filepath.Join(dir, "index.yaml"), 0o644))
	h := serve(t, http.FileServer(http.Dir(dir)))
	return h, client(t, "charts.example="+h.URL), Chart{Repository: "https://charts.example", Name: "metallb", Version: "0.15.2"}, digestOf(data)
}

func TestChartFromARepository(t *testing.T) {
	_, c, ch, digest := repository(t)
	for _, want := range []string{digest, ""} {
		file := filepath.Join(t.TempDir(), "chart.tgz")
		got, err := c.ChartFile(t.Context(), ch, want, file, quiet)
		require.NoError(t, err)
		require.Equal(t, digest, got)
		loaded, err := loader.Load(file)
		require.NoError(t, err)
		require.Equal(t, "metallb", loaded.Name())
	}
	now, err := c.ChartDigest(t.Context(), ch)
	require.NoError(t, err)
	require.Equal(t, digest, now)
	require.Equal(t, "https://charts.example/metallb:0.15.2", ch.String())
}

func TestFailuresOfAChartRepository(t *testing.T) {
	h, c, good, digest := repository(t)
	other := good
	other.Version = "9.9.9"
	unknown := good
	unknown.Name = "nosuch"
	for name, tc := range map[string]struct {
		bend func(http.ResponseWriter, *http.Request, http.Handler)
		ch   Chart
		want string
		says []string
		asks int // requests for the index
	}{
		"500":             {unavailable, good, digest, []string{"500", "after 3 attempts"}, 3},
		"unauthorised":    {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(401) }, good, digest, []string{"401", "helm registry login"}, 1},
		"wrong digest":    {nil, good, "sha256:" + strings.Repeat("2", 64), []string{"its digest is " + digest, "images pin --update"}, 1},
		"no such version": {nil, other, "", []string{"no such chart", "its index has the versions 0.15.2"}, 1},
		"no such chart":   {nil, unknown, "", []string{"no chart of that name"}, 1},
		"no repository": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			_, _ = io.WriteString(w, "<html>")
		}, good, "", []string{"it is no chart repository"}, 1},
		"changed archive": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.HasSuffix(r.URL.Path, ".tgz") {
				_, _ = io.WriteString(w, "something else")
				return
			}
			next.ServeHTTP(w, r)
		}, good, "", []string{"and the pinned one is " + digest}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h.set(tc.bend)
			file := filepath.Join(t.TempDir(), "chart.tgz")
			_, err := c.ChartFile(t.Context(), tc.ch, tc.want, file, quiet)
			require.Error(t, err)
			for _, text := range tc.says {
				require.ErrorContains(t, err, text)
			}
			require.Equal(t, tc.asks, h.requests("index.yaml"))
			require.NoFileExists(t, file)
		})
	}
}

func TestCredentialsOfARepository(t *testing.T) {
	h, c, ch, digest := repository(t)
	h.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
	_, err := c.ChartDigest(t.Context(), ch)
	require.ErrorContains(t, err, "401")
	stored := repo.NewFile()
	stored.Update(&repo.Entry{Name: "x", URL: h.URL, Username: "me", Password: "secret"})
	require.NoError(t, stored.WriteFile(os.Getenv("HELM_REPOSITORY_CONFIG"), 0o600))
	got, err := c.ChartDigest(t.Context(), ch)
	require.NoError(t, err)
	require.Equal(t, digest, got)
}

func TestChartFromARegistry(t *testing.T) {
	noCredentials(t)
	h := serve(t, registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	data := archive(t)
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.MediaType(helmregistry.ConfigMediaType))
	img, err := mutate.AppendLayers(img, static.NewLayer(data, types.MediaType(helmregistry.ChartLayerMediaType)))
	require.NoError(t, err)
	push := func(path string) {
		at, err := name.ParseReference(h.address() + path)
		require.NoError(t, err)
		require.NoError(t, remote.Write(at, img))
	}
	push("/charts/metallb:0.15.2_build.1")
	c := client(t, "quay.io="+h.address())
	ch := Chart{Repository: "oci://quay.io/charts", Name: "metallb", Version: "0.15.2+build.1"}
	file := filepath.Join(t.TempDir(), "chart.tgz")
	got, err := c.ChartFile(t.Context(), ch, digestOf(data), file, quiet)
	require.NoError(t, err)
	require.Equal(t, digestOf(data), got, "as in a repository: the sha256 of the archive")

	_, err = c.ChartFile(t.Context(), ch, "sha256:"+strings.Repeat("3", 64), file, quiet)
	require.ErrorContains(t, err, "the pinned one is sha256:333")

	img, err = mutate.AppendLayers(empty.Image, static.NewLayer([]byte("x"), types.DockerLayer))
	require.NoError(t, err)
	push("/charts/metallb:1.0.0")
	ch.Version = "1.0.0"
	_, err = c.ChartFile(t.Context(), ch, "", file, quiet)
	require.ErrorContains(t, err, "it is no Helm chart")
	require.Equal(t, "quay.io", ch.Host())
	require.Equal(t, "oci://quay.io/charts/metallb:1.0.0", fmt.Sprint(ch))
}
