// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"helm.sh/helm/v3/pkg/chart/loader"
	helmregistry "helm.sh/helm/v3/pkg/registry"
	"helm.sh/helm/v3/pkg/repo"
)

// Chart is where a chart is published.
type Chart struct {
	Repository string // URL of a chart repository, or oci://host/path
	Name       string
	Version    string
}

// String is the name that the chart is pinned by.
func (c Chart) String() string {
	return strings.TrimSuffix(c.Repository, "/") + "/" + c.Name + ":" + c.Version
}

// Host is the host that is asked for it.
func (c Chart) Host() string {
	u, err := url.Parse(c.Repository)
	if err != nil {
		return c.Repository
	}
	return u.Host
}

// indexLimit and chartLimit bound what is read: repositories of years have indexes of
// some 10 MB, charts of some 200 kB.
const (
	indexLimit = 128 << 20 // bytes
	chartLimit = 64 << 20  // bytes
)

// ChartDigest asks for the digest of a chart's archive, by fetching it.
func (c *Client) ChartDigest(ctx context.Context, ch Chart) (string, error) {
	_, digest, err := c.chart(ctx, ch, "", func(string) {})
	return digest, err
}

// ChartFile fetches a chart's archive to a file. Its sha256 must be want unless that is
// empty, and Helm must be able to read it.
func (c *Client) ChartFile(ctx context.Context, ch Chart, want, file string, note func(string)) (string, error) {
	data, digest, err := c.chart(ctx, ch, want, note)
	if err != nil {
		return "", err
	}
	if _, err := loader.LoadArchive(bytes.NewReader(data)); err != nil {
		return "", &Error{What: "chart " + ch.String(), Err: err, Next: "what " + ch.Host() + " serves is no Helm chart: look at its name and version"}
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return "", fmt.Errorf("store chart %s: %w", ch, err)
	}
	return digest, nil
}

func (c *Client) chart(ctx context.Context, ch Chart, want string, note func(string)) (data []byte, digest string, err error) {
	what := "chart " + ch.String()
	listed := ""
	if path, oci := strings.CutPrefix(ch.Repository, helmregistry.OCIScheme+"://"); oci {
		data, err = c.chartFromRegistry(ctx, path+"/"+ch.Name+":"+ch.Version, note)
	} else {
		data, listed, err = c.chartFromRepository(ctx, ch, note)
	}
	if err != nil {
		var told *Error
		if errors.As(err, &told) {
			return nil, "", err
		}
		return nil, "", c.explain(what, c.asked(ch), err)
	}
	sum := sha256.Sum256(data)
	digest = "sha256:" + hex.EncodeToString(sum[:])
	if want == "" && listed != "" {
		want = "sha256:" + strings.TrimPrefix(listed, "sha256:")
	}
	if want != "" && digest != want {
		return nil, "", c.explain(what, c.asked(ch), &MismatchError{Want: want, Got: digest})
	}
	return data, digest, nil
}

// asked is the host that requests for a chart go to.
func (c *Client) asked(ch Chart) string {
	if m, ok := c.o.Mirrors[canonical(ch.Host())]; ok {
		return m.Host
	}
	return ch.Host()
}

// chartFromRegistry takes the chart's layer out of the artifact that `helm push` makes.
func (c *Client) chartFromRegistry(ctx context.Context, ref string, note func(string)) (data []byte, err error) {
	at, err := c.o.Mirrors.reference(strings.ReplaceAll(ref, "+", "_")) // as Helm does: tags have no +
	if err != nil {
		return nil, err
	}
	err = c.again(ctx, note, func() error {
		img, err := remote.Image(at, c.options(ctx, nil)...)
		if err != nil {
			return err
		}
		manifest, err := img.Manifest()
		if err != nil {
			return err
		}
		for _, l := range manifest.Layers {
			if string(l.MediaType) != helmregistry.ChartLayerMediaType && string(l.MediaType) != helmregistry.LegacyChartLayerMediaType {
				continue
			}
			layer, err := img.LayerByDigest(l.Digest)
			if err != nil {
				return err
			}
			r, err := layer.Compressed()
			if err != nil {
				return err
			}
			defer r.Close()
			data, err = readBounded(r, chartLimit)
			return err
		}
		return errors.New("it is no Helm chart: it has no layer of type " + helmregistry.ChartLayerMediaType)
	})
	return data, err
}

// chartFromRepository finds a chart in a repository's index and fetches it. The digest
// that the index gives is returned.
func (c *Client) chartFromRepository(ctx context.Context, ch Chart, note func(string)) ([]byte, string, error) {
	base := strings.TrimSuffix(ch.Repository, "/") + "/"
	raw, err := c.get(ctx, base+"index.yaml", base, indexLimit, note)
	if err != nil {
		return nil, "", err
	}
	dir, err := os.MkdirTemp("", "lbmatrix-index-")
	if err != nil {
		return nil, "", fmt.Errorf("read index: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "index.yaml") // Helm reads indexes from files only
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return nil, "", fmt.Errorf("read index: %w", err)
	}
	index, err := repo.LoadIndexFile(file)
	if err != nil {
		return nil, "", &Error{What: "index of " + base, Err: err, Next: "it is no chart repository: look at its address"}
	}
	found, err := index.Get(ch.Name, ch.Version)
	if err != nil || len(found.URLs) == 0 {
		var versions []string
		for _, v := range index.Entries[ch.Name] {
			versions = append(versions, v.Version)
		}
		next := "its index has no chart of that name"
		if len(versions) > 0 {
			next = "its index has the versions " + strings.Join(versions[:min(len(versions), 10)], ", ")
		}
		return nil, "", &Error{What: "chart " + ch.String(), Err: errors.New("the repository has no such chart"), Next: next}
	}
	at, err := repo.ResolveReferenceURL(base, found.URLs[0])
	if err != nil {
		return nil, "", fmt.Errorf("read index: %w", err)
	}
	data, err := c.get(ctx, at, base, chartLimit, note)
	return data, found.Digest, err
}

// get fetches a file over HTTP. Credentials go to the repository's own host only.
func (c *Client) get(ctx context.Context, raw, base string, limit int64, note func(string)) (data []byte, err error) {
	at, err := c.o.Mirrors.url(raw)
	if err != nil {
		return nil, err
	}
	// A mirror is another host: it gets the credentials that are stored for it.
	if base, err = c.o.Mirrors.url(base); err != nil {
		return nil, err
	}
	var received atomic.Int64
	p := &progress{note: note, every: c.o.Every, received: &received}
	client := &http.Client{Transport: &patient{next: c.base, idle: c.o.Idle, received: p.add}}
	user, password := c.repositoryUser(base)
	err = c.again(ctx, note, func() error {
		received.Store(0)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "lbmatrix")
		if user != "" && sameHost(at, base) {
			req.SetBasicAuth(user, password)
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return &answerError{url: at, status: res.StatusCode}
		}
		data, err = readBounded(res.Body, limit)
		return err
	})
	return data, err
}

// repositoryUser looks up what `helm repo add --username` has stored for a repository.
func (c *Client) repositoryUser(base string) (user, password string) {
	file, err := repo.LoadFile(c.helm.RepositoryConfig)
	if err != nil {
		return "", ""
	}
	for _, e := range file.Repositories {
		if strings.TrimSuffix(e.URL, "/")+"/" == base {
			return e.Username, e.Password
		}
	}
	return "", ""
}

func sameHost(a, b string) bool {
	x, err := url.Parse(a)
	if err != nil {
		return false
	}
	y, err := url.Parse(b)
	return err == nil && x.Scheme == y.Scheme && x.Host == y.Host
}

func readBounded(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("it is larger than %d MB", limit>>20)
	}
	return data, nil
}
