// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/artifact/filelock"
)

const (
	metaFile = "meta.json"
	// keyLength is how many hex digits of a key names show: 48 bits.
	keyLength = 12
)

// recipe says how to make one artifact. Everything its content depends on is in
// inputs, so equal keys mean equal artifacts.
type recipe struct {
	name, version string
	inputs        []string
	// build writes the artifact into dir; note tells what is being done.
	build func(ctx context.Context, dir string, note func(string)) error
}

// key is the sha256 over name, version and inputs. Each is hashed with its length,
// so that moving a byte from one to the next changes the key.
func (r recipe) key() string { return hashStrings(append([]string{r.name, r.version}, r.inputs...)...) }

func (r recipe) title() string { return r.name + " " + r.version }

func (r recipe) folder() string { return r.name + "-" + r.version + "-" + r.key()[:keyLength] }

func hashStrings(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(strconv.Itoa(len(p)) + ":" + p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// ensure returns the folder of an artifact, made now if it is not there. It is
// made in a temporary folder and renamed when complete: what lies under artifacts
// is always whole, and an interrupted run leaves every finished artifact to the next.
func (s *Store) ensure(ctx context.Context, r recipe) (string, error) {
	final := filepath.Join(s.dir, "artifacts", r.folder())
	if s.cached(r, final) {
		return final, nil
	}
	unlock, err := s.lock(ctx, r.folder(), func() {
		s.report(Event{Artifact: r.title(), State: Waiting, Detail: "another process makes it"})
	})
	if err != nil {
		return "", fmt.Errorf("make %s: %w", r.title(), err)
	}
	defer unlock()
	if s.cached(r, final) {
		return final, nil
	}
	begin := time.Now()
	s.report(Event{Artifact: r.title(), State: Building})
	m, err := s.make(ctx, r, final, begin)
	if err != nil {
		err = s.withRoom(err)
		s.report(Event{Artifact: r.title(), State: Failed, Elapsed: time.Since(begin), Detail: err.Error()})
		return "", fmt.Errorf("make %s: %w", r.title(), err)
	}
	s.report(Event{Artifact: r.title(), State: Done, Elapsed: m.BuildTime, Bytes: m.Bytes})
	return final, nil
}

// withRoom says what to do where the disk is full. Programs that were started only write
// that it is.
func (s *Store) withRoom(err error) error {
	if strings.Contains(err.Error(), "LBMATRIX_CACHE") {
		return err // it has been said
	}
	if errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		return fmt.Errorf("%w: the disk is full: make room (`lbmatrix images list` shows what lies in %s), or set LBMATRIX_CACHE to a folder elsewhere", err, s.dir)
	}
	return err
}

func (s *Store) cached(r recipe, dir string) bool {
	m, err := readMeta(dir)
	if err != nil || m.Key != r.key() {
		return false
	}
	now := time.Now()
	_ = os.Chtimes(filepath.Join(dir, metaFile), now, now) // for Prune
	s.report(Event{Artifact: r.title(), State: Cached, Bytes: m.Bytes})
	return true
}

// make builds under the lock of the recipe's key.
func (s *Store) make(ctx context.Context, r recipe, final string, begin time.Time) (_ Meta, err error) {
	// Only the holder of the lock makes such folders: what lies there is a dead run's.
	// Something that run started may still write into it, so it is not used again, and
	// what cannot be removed yet goes the next time.
	left, _ := filepath.Glob(filepath.Join(s.dir, "tmp", r.folder()+".*"))
	for _, dir := range left {
		_ = os.RemoveAll(dir)
	}
	tmp, err := os.MkdirTemp(filepath.Join(s.dir, "tmp"), r.folder()+".")
	if err != nil {
		return Meta{}, err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return Meta{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	note := func(detail string) {
		s.report(Event{Artifact: r.title(), State: Building, Elapsed: time.Since(begin), Detail: detail})
	}
	if err := r.build(ctx, tmp, note); err != nil {
		return Meta{}, err
	}
	// A build that swallowed its cancellation is not trusted.
	if err := ctx.Err(); err != nil {
		return Meta{}, context.Cause(ctx)
	}
	m := Meta{Name: r.name, Version: r.version, Key: r.key(), Built: time.Now().UTC(), BuildTime: time.Since(begin)}
	if m.Bytes, err = folderSize(tmp); err != nil {
		return Meta{}, err
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return Meta{}, err
	}
	if err := os.WriteFile(filepath.Join(tmp, metaFile), data, 0o644); err != nil {
		return Meta{}, err
	}
	if err := os.RemoveAll(final); err != nil { // a folder whose meta.json did not match
		return Meta{}, err
	}
	return m, os.Rename(tmp, final)
}

// lock serialises the making of one thing between processes.
func (s *Store) lock(ctx context.Context, name string, waiting func()) (func(), error) {
	return filelock.Acquire(ctx, filepath.Join(s.dir, "locks", name+".lock"), waiting)
}
