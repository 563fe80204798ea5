// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package artifact makes what a cluster runs: Kubernetes, MetalLB and the other
// components, the node images that hold them, the project's own programs. It keeps
// them by content, so that everything is made once.
package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"syscall"
	"time"
)

// Options say where artifacts lie and where they come from. The zero value works.
type Options struct {
	Dir      string      // default: $LBMATRIX_CACHE, else lbmatrix in the user's cache folder
	Source   Source      // Registry, or GoModule; default: GoModule. Decide tells for Auto
	Progress func(Event) // called from one goroutine at a time; may be nil

	// Mirrors say HOST=TARGET: where a registry's images and a repository's charts are
	// fetched from instead.
	Mirrors []string
	// Pins is the file of the user's own digests; default [pins.DefaultFile].
	Pins string
	// Own are builds that stand in for what components publish.
	Own Own

	// ProbePackage is the import path, or the path in this module, of the probe
	// program; default ./cmd/lbprobe.
	ProbePackage string
}

// Store keeps artifacts by the key of their recipe.
type Store struct {
	dir        string
	from       Source
	source     provider // of programs
	registries *registries
	own        Own
	carried    *carried // nil where artifacts are made
	probe      string
	progress   func(Event)
	reporting  sync.Mutex
}

// Open makes the store's folder when it is not there.
func Open(o Options) (*Store, error) {
	dir := o.Dir
	if dir == "" {
		dir = os.Getenv("LBMATRIX_CACHE")
	}
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("open artifact store: %w; set LBMATRIX_CACHE", err)
		}
		dir = filepath.Join(cache, "lbmatrix")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open artifact store: %w", err)
	}
	if o.ProbePackage == "" {
		o.ProbePackage = "./cmd/lbprobe"
	}
	s := &Store{dir: dir, own: o.Own, probe: o.ProbePackage, progress: o.Progress}
	if s.from, err = ParseSource(string(o.Source)); err != nil {
		return nil, fmt.Errorf("open artifact store: %w", err)
	}
	if s.registries, err = openRegistries(o); err != nil {
		return nil, fmt.Errorf("open artifact store: %w", err)
	}
	if s.carried, err = readCarried(dir); err != nil {
		return nil, fmt.Errorf("open artifact store: %w", err)
	}
	s.source = moduleProvider{}
	if s.from == Registry {
		s.source = registryProvider{s}
	}
	for _, sub := range storeFolders() {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("open artifact store: %w; set LBMATRIX_CACHE to a folder that can be written to", err)
		}
	}
	return s, nil
}

// storeFolders are those of every store.
func storeFolders() []string { return []string{"artifacts", "locks", "tmp"} }

// Dir is the store's folder.
func (s *Store) Dir() string { return s.dir }

// List describes the finished artifacts, by name and then newest first.
func (s *Store) List(ctx context.Context) ([]Meta, error) {
	files, err := filepath.Glob(filepath.Join(s.dir, "artifacts", "*", metaFile))
	if err != nil {
		return nil, fmt.Errorf("list artifacts: %w", err)
	}
	var list []Meta
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("list artifacts: %w", err)
		}
		m, err := readMeta(filepath.Dir(file))
		if err != nil {
			return nil, fmt.Errorf("list artifacts: %w", err)
		}
		list = append(list, m)
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].Name != list[j].Name {
			return list[i].Name < list[j].Name
		}
		return list[i].Built.After(list[j].Built)
	})
	return list, nil
}

// Prune removes artifacts nobody asked for since the given time, and returns them.
// The zero time removes all.
func (s *Store) Prune(ctx context.Context, before time.Time) ([]Meta, error) {
	list, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	var gone []Meta
	for _, m := range list {
		if !before.IsZero() && m.Used.After(before) {
			continue
		}
		unlock, err := s.lock(ctx, filepath.Base(m.Dir), nil)
		if err != nil {
			return gone, err
		}
		err = os.RemoveAll(m.Dir)
		unlock()
		if err != nil {
			return gone, fmt.Errorf("prune artifacts: %w", err)
		}
		gone = append(gone, m)
	}
	return gone, nil
}

func readMeta(dir string) (Meta, error) {
	file := filepath.Join(dir, metaFile)
	data, err := os.ReadFile(file)
	if err != nil {
		return Meta{}, err
	}
	m := Meta{Dir: dir}
	if err := json.Unmarshal(data, &m); err != nil {
		return Meta{}, fmt.Errorf("read %s: %w", file, err)
	}
	if info, err := os.Stat(file); err == nil {
		m.Used = info.ModTime()
	}
	return m, nil
}

// folderSize adds up the files of a folder, in bytes. A sparse file counts with what it
// takes on the disk.
func folderSize(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		size := info.Size()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			size = min(size, st.Blocks*512) // st_blocks is in units of 512 bytes: stat(2)
		}
		sum += size
		return nil
	})
	return sum, err
}
