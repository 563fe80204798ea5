// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fetch

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"
)

// host is a registry that can be made to misbehave, and the requests it got.
type host struct {
	*httptest.Server
	mu   sync.Mutex
	bend func(w http.ResponseWriter, r *http.Request, next http.Handler) // nil: behaves
	got  []string
}

func (h *host) set(bend func(http.ResponseWriter, *http.Request, http.Handler)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bend, h.got = bend, nil
}

func (h *host) requests(part string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, r := range h.got {
		if strings.Contains(r, part) {
			n++
		}
	}
	return n
}

func (h *host) address() string { return strings.TrimPrefix(h.URL, "http://") }

// serve puts something that may bend before a handler, on loopback.
func serve(t *testing.T, next http.Handler) *host {
	t.Helper()
	h := &host{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.got = append(h.got, r.Method+" "+r.URL.Path)
		bend := h.bend
		h.mu.Unlock()
		if bend != nil {
			bend(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	return h
}

// noCredentials keeps the credentials of this machine out of the tests.
func noCredentials(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	for k, v := range map[string]string{
		"HOME": home, "DOCKER_CONFIG": filepath.Join(home, "docker"), "XDG_CONFIG_HOME": home, "XDG_RUNTIME_DIR": home, "REGISTRY_AUTH_FILE": "",
		"HELM_REGISTRY_CONFIG": filepath.Join(home, "helm-registry.json"), "HELM_REPOSITORY_CONFIG": filepath.Join(home, "repositories.yaml"),
	} {
		t.Setenv(k, v)
	}
	return home
}

const tag = "quay.io/metallb/speaker:v0.15.2"

// published is a registry that stands for quay.io and holds an image for this machine
// and one for another; its digest is the index's.
func published(t *testing.T) (*host, *Client, string) {
	t.Helper()
	noCredentials(t)
	h := serve(t, registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	other := v1.Platform{OS: "linux", Architecture: "s390x"}
	own := platform()
	index := v1.ImageIndex(empty.Index)
	for _, p := range []v1.Platform{other, own} {
		img, err := random.Image(300_000, 3)
		require.NoError(t, err)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
	}
	at, err := name.ParseReference(h.address() + "/mirrored/metallb/speaker:v0.15.2")
	require.NoError(t, err)
	require.NoError(t, remote.WriteIndex(at, index))
	digest, err := index.Digest()
	require.NoError(t, err)
	h.set(nil)
	return h, client(t, "quay.io="+h.address()+"/mirrored"), digest.String()
}

func client(t *testing.T, mirrors ...string) *Client {
	t.Helper()
	m, err := ParseMirrors(mirrors)
	require.NoError(t, err)
	return New(Options{Mirrors: m, Idle: 300 * time.Millisecond, Wait: time.Millisecond, Every: time.Nanosecond})
}

func quiet(string) {}

func TestImageIsFetchedByItsDigest(t *testing.T) {
	h, c, digest := published(t)
	now, err := c.ImageDigest(t.Context(), tag)
	require.NoError(t, err)
	require.Equal(t, digest, now)
	for _, want := range []string{digest, ""} {
		dir := t.TempDir()
		var notes []string
		got, err := c.Image(t.Context(), tag, want, dir, func(s string) { notes = append(notes, s) })
		require.NoError(t, err)
		require.Equal(t, digest, got)
		img, err := Open(dir)
		require.NoError(t, err)
		require.NoError(t, validate.Image(img))
		require.NotEmpty(t, notes)
		require.Contains(t, notes[len(notes)-1], "of 0.9 MB")
	}
	require.NoError(t, c.Answers(t.Context(), "quay.io"))
	h.Close()
	require.Error(t, c.Answers(t.Context(), "quay.io"))
}

// unavailable answers what a registry in trouble does.
func unavailable(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	http.Error(w, "trouble", http.StatusInternalServerError)
}

func isBlob(r *http.Request) bool {
	return strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet
}

// torn sends half of every blob under the length of the whole, the first n times.
func torn(n int) func(http.ResponseWriter, *http.Request, http.Handler) {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		mu.Lock()
		tear := isBlob(r) && rec.Body.Len() > 10_000 && n > 0
		if tear {
			n--
		}
		mu.Unlock()
		body := rec.Body.Bytes()
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(rec.Code)
		if tear {
			body = body[:len(body)/2]
		}
		_, _ = w.Write(body)
		if tear {
			panic(http.ErrAbortHandler)
		}
	}
}

func changed(w http.ResponseWriter, r *http.Request, next http.Handler) {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	body := rec.Body.Bytes()
	if isBlob(r) && len(body) > 10_000 {
		body[5000] ^= 1
	}
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(body)
}

func TestFailuresOfARegistry(t *testing.T) {
	h, c, digest := published(t)
	stuck := make(chan struct{})
	defer close(stuck)
	for name, tc := range map[string]struct {
		bend func(http.ResponseWriter, *http.Request, http.Handler)
		ref  string
		want string
		says []string
		// How many requests for either may be made: an index and a manifest are two, three
		// layers and a configuration four, all of it three times where it may be transient.
		manifests, blobs int
	}{
		"500":       {unavailable, tag, digest, []string{"500", "try later", "--registry-mirror", "--source go-module"}, 0, 0},
		"truncated": {torn(1000), tag, digest, []string{"breaks off", "unexpected EOF", "--registry-mirror"}, 6, 12},
		"silent": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if isBlob(r) {
				select {
				case <-r.Context().Done():
				case <-stuck:
				}
				return
			}
			next.ServeHTTP(w, r)
		}, tag, digest, []string{"nothing came for 300ms", "proxy"}, 6, 12},
		"changed blob": {changed, tag, digest, []string{"error verifying sha256", "was not kept"}, 2, 4},
		"another manifest for the digest": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			r.URL.Path = strings.Replace(r.URL.Path, strings.Repeat("0", 64), strings.TrimPrefix(digest, "sha256:"), 1)
			next.ServeHTTP(w, r)
		}, tag, "sha256:" + strings.Repeat("0", 64), []string{"does not match requested digest", "was not kept"}, 1, 0},
		"pinned digest is gone": {nil, tag, "sha256:" + strings.Repeat("1", 64), []string{"its digest is " + digest, "the tag was moved", "images pin --update"}, 2, 0},
		"no such tag":           {nil, "quay.io/metallb/speaker:v9", "", []string{"look at the version"}, 1, 0},
		"unauthorised": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}, tag, digest, []string{"401", "docker/config.json", "helm-registry.json", "docker login " + h.address()}, 1, 0},
		"too often": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusTooManyRequests)
		}, tag, digest, []string{"429", "limits how often"}, 0, 0},
		"a reference that is none": {nil, "no such: reference", "", []string{"read image reference"}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h.set(tc.bend)
			_, err := c.Image(t.Context(), tc.ref, tc.want, t.TempDir(), quiet)
			require.Error(t, err)
			for _, text := range tc.says {
				require.ErrorContains(t, err, text)
			}
			require.NotContains(t, err.Error(), "\n", "one line")
			require.LessOrEqual(t, h.requests("/manifests/"), tc.manifests)
			require.LessOrEqual(t, h.requests("/blobs/"), tc.blobs)
		})
	}
	t.Run("gone", func(t *testing.T) {
		h.Close()
		_, err := c.Image(t.Context(), tag, digest, t.TempDir(), quiet)
		require.ErrorContains(t, err, "HTTPS_PROXY")
	})
}

// What is damaged for good is asked for once; what broke off, again, and what had come
// whole is not fetched twice.
func TestOnlyTransientFailuresAreTriedAgain(t *testing.T) {
	h, c, digest := published(t)
	h.set(torn(2))
	dir := t.TempDir()
	var notes []string
	_, err := c.Image(t.Context(), tag, digest, dir, func(s string) { notes = append(notes, s) })
	require.NoError(t, err)
	require.Contains(t, strings.Join(notes, "\n"), "attempt 1 of 3 failed")
	img, err := Open(dir)
	require.NoError(t, err)
	require.NoError(t, validate.Image(img))

	h.set(changed)
	_, err = c.Image(t.Context(), tag, digest, t.TempDir(), quiet)
	require.Error(t, err)
	require.LessOrEqual(t, h.requests("/blobs/"), 4, "three layers and a configuration, once")

	h.set(unavailable)
	_, err = c.Image(t.Context(), tag, digest, t.TempDir(), quiet)
	require.Error(t, err)
	require.Equal(t, attempts, h.requests("/v2/"))
}

// slowly serves every blob in pieces with pauses: slow is no failure.
func TestSlowIsNoFailure(t *testing.T) {
	h, c, digest := published(t)
	h.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !isBlob(r) {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		piece := len(body)/5 + 1
		for len(body) > 0 {
			n := min(piece, len(body))
			_, _ = w.Write(body[:n])
			w.(http.Flusher).Flush()
			body = body[n:]
			time.Sleep(100 * time.Millisecond) // a third of what counts as silence; five of them are more
		}
	})
	var mu sync.Mutex
	var notes []string
	_, err := c.Image(t.Context(), tag, digest, t.TempDir(), func(s string) { mu.Lock(); defer mu.Unlock(); notes = append(notes, s) })
	require.NoError(t, err)
	require.Greater(t, len(notes), 5)
}

func TestCredentialsAreFound(t *testing.T) {
	for name, file := range map[string]string{"of Docker": "docker/config.json", "of Helm": "helm-registry.json"} {
		t.Run(name, func(t *testing.T) {
			h, _, digest := published(t)
			home := os.Getenv("HOME")
			path := filepath.Join(home, file)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			secret := base64.StdEncoding.EncodeToString([]byte("me:secret"))
			require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, h.address(), secret), 0o600))
			h.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
					w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				next.ServeHTTP(w, r)
			})
			got, err := client(t, "quay.io="+h.address()+"/mirrored").Image(t.Context(), tag, digest, t.TempDir(), quiet)
			require.NoError(t, err)
			require.Equal(t, digest, got)
		})
	}
}

// The environment's proxy is asked for whatever is not on loopback. It is read once a
// process, so the fetching is done by another one.
func TestProxyIsUsed(t *testing.T) {
	const env = "LBMATRIX_TEST_PROXY"
	ch := Chart{Repository: "http://charts.example", Name: "metallb", Version: "0.15.2"}
	if os.Getenv(env) != "" {
		digest, err := client(t).ChartDigest(t.Context(), ch)
		fmt.Println(digest, err)
		return
	}
	proxy, _, _, digest := repository(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxyIsUsed$")
	cmd.Env = append(os.Environ(), env+"=1", "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), digest+" <nil>")
	require.Equal(t, 2, proxy.requests("GET"))
}

func TestMirrors(t *testing.T) {
	for spec, want := range map[string]string{
		"docker.io":         "want HOST=TARGET",
		"=x":                "want HOST=TARGET",
		"docker.io/x=y":     "want HOST=TARGET",
		"a=ftp://b":         "no http or https URL",
		"a=https://me:pw@b": "credentials belong into",
		"a=http://b?x=y":    "no http or https URL",
	} {
		_, err := ParseMirrors([]string{spec})
		require.ErrorContains(t, err, want, spec)
	}
	_, err := ParseMirrors([]string{"docker.io=a", "index.docker.io=b"})
	require.ErrorContains(t, err, "has one already")

	m, err := ParseMirrors([]string{"docker.io=http://127.0.0.1:5000/hub/", "charts.example=http://127.0.0.1:8080/c"})
	require.NoError(t, err)
	ref, err := m.reference("kindest/node:v1")
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:5000/hub/kindest/node:v1", ref.Name())
	digest := "sha256:" + strings.Repeat("a", 64)
	ref, err = m.reference("docker.io/kindest/node@" + digest)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:5000/hub/kindest/node@"+digest, ref.Name())
	ref, err = m.reference("quay.io/a/b:c")
	require.NoError(t, err)
	require.Equal(t, "quay.io/a/b:c", ref.Name())
	at, err := m.url("https://charts.example/x/index.yaml")
	require.NoError(t, err)
	require.Equal(t, "http://127.0.0.1:8080/c/x/index.yaml", at)
	at, err = m.url("https://elsewhere.example/x")
	require.NoError(t, err)
	require.Equal(t, "https://elsewhere.example/x", at)
}

func TestFullDiskIsSaid(t *testing.T) {
	c := New(Options{})
	err := c.explain("image x", "h", &os.PathError{Op: "write", Path: "p", Err: errNoSpace})
	require.ErrorContains(t, err, "LBMATRIX_CACHE")
	var told *Error
	require.True(t, errors.As(err, &told))
	require.False(t, bytes.Contains([]byte(err.Error()), []byte("mirror")))
}
