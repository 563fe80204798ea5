// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fetch

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// layoutDir is the folder of an image within the one that Image wrote.
const layoutDir = "image"

// platform is what nodes run on: the architecture of this machine.
func platform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// Answers says whether a registry or chart repository is there: nil when anything
// speaks HTTP at its address, whatever it says. It asks once.
func (c *Client) Answers(ctx context.Context, host string) error {
	registry, err := name.NewRegistry(host)
	if err != nil {
		return fmt.Errorf("ask %s: %w", host, err)
	}
	target := registry.Scheme() + "://" + registry.RegistryStr() + "/v2/"
	if m, ok := c.o.Mirrors[canonical(host)]; ok {
		scheme := m.Scheme
		if scheme == "" {
			mirror, err := name.NewRegistry(m.Host)
			if err != nil {
				return fmt.Errorf("ask %s: %w", host, err)
			}
			scheme = mirror.Scheme()
		}
		target = scheme + "://" + m.Host + "/v2/"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", host, err)
	}
	res, err := (&patient{next: c.base, idle: c.o.Idle}).RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", host, err)
	}
	return res.Body.Close()
}

// ImageDigest asks what a reference points at now: the digest of an index, or of a
// manifest where there is no index.
func (c *Client) ImageDigest(ctx context.Context, ref string) (string, error) {
	at, err := c.o.Mirrors.reference(ref)
	if err != nil {
		return "", err
	}
	d, err := remote.Head(at, c.options(ctx, nil)...)
	if err != nil { // a registry may refuse HEAD, and its answer to GET has the reason in it
		got, gerr := remote.Get(at, c.options(ctx, nil)...)
		if gerr != nil {
			return "", c.explain("image "+ref, at.Context().RegistryStr(), gerr)
		}
		return got.Digest.String(), nil
	}
	return d.Digest.String(), nil
}

// Image fetches an image for this machine's architecture into dir and returns the
// digest that its reference has. Every byte is checked against the digest that names
// it, from want down; an empty want takes what the registry serves.
func (c *Client) Image(ctx context.Context, ref, want, dir string, note func(string)) (string, error) {
	at, err := c.o.Mirrors.reference(ref)
	if err != nil {
		return "", err
	}
	ask := at
	if want != "" {
		ask = at.Context().Digest(want)
	}
	var received atomic.Int64
	p := &progress{note: note, every: c.o.Every, received: &received}
	var digest string
	err = c.again(ctx, note, func() error {
		received.Store(0)
		desc, err := remote.Get(ask, append(c.options(ctx, p.add), remote.WithPlatform(platform()))...)
		if err != nil {
			return err
		}
		img, err := desc.Image()
		if err != nil {
			return err
		}
		digest = desc.Digest.String()
		manifest, err := img.Manifest()
		if err != nil {
			return err
		}
		p.total = manifest.Config.Size
		for _, l := range manifest.Layers {
			p.total += l.Size
		}
		into, err := layout.Write(filepath.Join(dir, layoutDir), empty.Index)
		if err != nil {
			return err
		}
		// What an attempt before has completed is there under its digest, and stays.
		return into.AppendImage(img)
	})
	if err == nil {
		return digest, nil
	}
	if moved := c.moved(ctx, ref, want, err); moved != nil {
		return "", moved
	}
	return "", c.explain("image "+ref, at.Context().RegistryStr(), err)
}

// moved says so when what was pinned is not served and the tag points elsewhere.
func (c *Client) moved(ctx context.Context, ref, want string, err error) error {
	if want == "" || status(err) != http.StatusNotFound {
		return nil
	}
	now, err := c.ImageDigest(ctx, ref)
	if err != nil || now == want {
		return nil //nolint:nilerr // then the first error is the one to tell
	}
	return &Error{
		What: "image " + ref, Err: &MismatchError{Want: want, Got: now},
		Next: "the tag was moved, or the registry is not the one that was pinned; look at what it serves, then `lbmatrix images pin --update`",
	}
}

// Open reads an image that Image has fetched into dir.
func Open(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(filepath.Join(dir, layoutDir))
	if err != nil {
		return nil, fmt.Errorf("open image in %s: %w", dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("open image in %s: %w", dir, err)
	}
	if len(manifest.Manifests) == 0 {
		return nil, fmt.Errorf("open image in %s: there is none", dir)
	}
	img, err := index.Image(manifest.Manifests[len(manifest.Manifests)-1].Digest)
	if err != nil {
		return nil, fmt.Errorf("open image in %s: %w", dir, err)
	}
	return img, nil
}

// status is the code of a registry's answer, 0 without one.
func status(err error) int {
	if t, ok := asTransport(err); ok {
		return t.StatusCode
	}
	return 0
}

// progress tells how much of something has come.
type progress struct {
	note     func(string)
	every    time.Duration
	total    int64 // bytes; 0 when unknown
	received *atomic.Int64

	mu   sync.Mutex
	last time.Time
}

func (p *progress) add(n int64) {
	all := p.received.Add(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.last) < p.every {
		return
	}
	p.last = time.Now()
	if p.total > 0 {
		p.note(fmt.Sprintf("%.1f of %.1f MB", float64(all)/1e6, float64(p.total)/1e6))
		return
	}
	p.note(fmt.Sprintf("%.1f MB", float64(all)/1e6))
}

func asTransport(err error) (*transport.Error, bool) {
	var t *transport.Error
	ok := asError(err, &t)
	return t, ok
}
