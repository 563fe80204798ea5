// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package fetch gets container images and Helm charts from where their projects
// publish them, by digest, and says what to do when that fails. It needs no Docker
// daemon: one without a way out could not pull.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"helm.sh/helm/v3/pkg/cli"
)

// Options say how registries and repositories are reached. The zero value works.
// HTTP(S)_PROXY and NO_PROXY are honoured as everywhere in Go.
type Options struct {
	Mirrors Mirrors
	// Idle bounds the time without a single byte; default 30 s. There is no limit on
	// the whole: a slow line is no error.
	Idle time.Duration
	// Wait is the pause before the second attempt, three times as long before the
	// third and last; default 1 s.
	Wait time.Duration
	// Every is how often progress is told; default 5 s.
	Every time.Duration
}

// Client fetches. It is safe for concurrent use.
type Client struct {
	o    Options
	base http.RoundTripper
	keys authn.Keychain
	helm *cli.EnvSettings // where Helm keeps its credentials: HELM_* or its defaults
}

// attempts is how often something is asked for before it counts as failed.
const attempts = 3

// New makes a client.
func New(o Options) *Client {
	if o.Idle <= 0 {
		o.Idle = 30 * time.Second
	}
	if o.Wait <= 0 {
		o.Wait = time.Second
	}
	if o.Every <= 0 {
		o.Every = 5 * time.Second
	}
	base := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
	}
	helm := cli.New()
	return &Client{o: o, base: base, helm: helm, keys: authn.NewMultiKeychain(authn.DefaultKeychain, helmKeys{helm.RegistryConfig})}
}

// options are the registry library's: it tries again by itself what fails before an
// answer has begun.
func (c *Client) options(ctx context.Context, received func(int64)) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(c.keys), remote.WithUserAgent("lbmatrix"),
		remote.WithTransport(&patient{next: c.base, idle: c.o.Idle, received: received}),
		remote.WithRetryBackoff(remote.Backoff{Duration: c.o.Wait, Factor: 3, Jitter: 0.1, Steps: attempts}),
	}
}

// again runs get until it succeeds, fails for good, or has failed three times.
func (c *Client) again(ctx context.Context, note func(string), get func() error) error {
	wait := c.o.Wait
	for n := 1; ; n++ {
		err := get()
		if err == nil || n == attempts || ctx.Err() != nil || !transient(err) {
			return err
		}
		note(fmt.Sprintf("attempt %d of %d failed (%v); the next in %s", n, attempts, err, wait))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		wait *= 3
	}
}

// idleError says that nothing came for too long.
type idleError struct{ after time.Duration }

func (e *idleError) Error() string   { return fmt.Sprintf("nothing came for %s", e.after) }
func (e *idleError) Timeout() bool   { return true }
func (e *idleError) Temporary() bool { return false } // the registry library is not to try again: [Client.again] does

// patient ends a request when nothing comes for a while, however long the whole takes.
type patient struct {
	next     http.RoundTripper
	idle     time.Duration
	received func(int64) // told of every piece of a body; may be nil
}

// RoundTrip implements http.RoundTripper.
func (p *patient) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(p.idle, func() { cancel(&idleError{p.idle}) })
	res, err := p.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		timer.Stop()
		err = idleCause(ctx, err)
		cancel(nil)
		return nil, err
	}
	res.Body = &watched{ReadCloser: res.Body, p: p, ctx: ctx, cancel: cancel, timer: timer}
	return res, nil
}

func idleCause(ctx context.Context, err error) error {
	var idle *idleError
	if errors.As(context.Cause(ctx), &idle) {
		return idle
	}
	return err
}

type watched struct {
	io.ReadCloser
	p      *patient
	ctx    context.Context //nolint:containedctx // of the one request whose body this is
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func (w *watched) Read(b []byte) (int, error) {
	w.timer.Reset(w.p.idle)
	n, err := w.ReadCloser.Read(b)
	w.timer.Stop() // what the reader does between two pieces is not the sender's fault
	if w.p.received != nil && n > 0 {
		w.p.received(int64(n))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = idleCause(w.ctx, err)
	}
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
	err := w.ReadCloser.Close()
	w.cancel(nil)
	return err
}

// helmKeys are the credentials that `helm registry login` has stored: a file in the
// form of Docker's own.
type helmKeys struct{ path string }

// Resolve implements authn.Keychain.
func (k helmKeys) Resolve(r authn.Resource) (authn.Authenticator, error) {
	f, err := os.Open(k.path)
	if errors.Is(err, os.ErrNotExist) {
		return authn.Anonymous, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Helm's credentials: %w", err)
	}
	defer f.Close()
	file, err := config.LoadFromReader(f)
	if err != nil {
		return nil, fmt.Errorf("read Helm's credentials from %s: %w", k.path, err)
	}
	found, err := file.GetAuthConfig(r.RegistryStr())
	if err != nil {
		return nil, fmt.Errorf("read Helm's credentials from %s: %w", k.path, err)
	}
	if found.Username == "" && found.IdentityToken == "" && found.RegistryToken == "" && found.Auth == "" {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: found.Username, Password: found.Password, Auth: found.Auth, IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken,
	}), nil
}
