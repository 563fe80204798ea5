// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
)

// Programs makes what a set runs, for those who start it without images: the paths of
// the programs of Kubernetes that need no kubelet, of etcd and the set's components, and of
// lbprobe, by name.
// A name that two components give to a program of theirs is refused.
func (s *Store) Programs(ctx context.Context, set Set) (map[string]string, error) {
	dirs, err := s.programDirs(ctx, set)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, part := range slices.Sorted(maps.Keys(dirs)) {
		if err := addPrograms(found, part, dirs[part]); err != nil {
			return nil, err
		}
	}
	probe, err := s.ProbeBinary(ctx)
	if err != nil {
		return nil, err
	}
	found["lbprobe"] = probe
	return found, nil
}

// programDirs makes the folders of a set's programs, by part.
func (s *Store) programDirs(ctx context.Context, set Set) (map[string]string, error) {
	if s.carried != nil {
		return s.carriedPrograms(set)
	}
	recipes, err := s.programRecipes(ctx, set)
	if err != nil {
		return nil, fmt.Errorf("plan programs: %w", err)
	}
	made := make([]string, len(recipes))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(2) // a Go build alone keeps the processors busy
	for i, r := range recipes {
		group.Go(func() (err error) {
			made[i], err = s.ensure(gctx, r)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	dirs := map[string]string{}
	for i, r := range recipes {
		dirs[r.name] = made[i]
	}
	return dirs, nil
}

// HasPrograms says whether Programs has nothing to build or fetch but the project's own.
func (s *Store) HasPrograms(ctx context.Context, set Set) (bool, error) {
	if s.carried != nil {
		_, err := s.carriedPrograms(set)
		return err == nil, nil //nolint:nilerr // it only says what is missing
	}
	recipes, err := s.programRecipes(ctx, set)
	if err != nil {
		return false, fmt.Errorf("plan programs: %w", err)
	}
	for _, r := range recipes {
		if m, err := readMeta(filepath.Join(s.dir, "artifacts", r.folder())); err != nil || m.Key != r.key() {
			return false, nil
		}
	}
	return true, nil
}

// partEtcd is a part of every cluster.
const partEtcd = "etcd"

// processParts are the parts of a cluster of processes, with their versions.
func processParts(set Set) map[string]string {
	parts := map[string]string{partKubernetes: set.Kubernetes, partEtcd: ""}
	maps.Copy(parts, set.Components)
	for part, version := range parts {
		parts[part] = cmp.Or(version, usual(part))
	}
	return parts
}

func (s *Store) programRecipes(ctx context.Context, set Set) ([]recipe, error) {
	parts := processParts(set)
	var out []recipe
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		r, err := s.source.programs(ctx, part, parts[part])
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// addPrograms lists the programs in a component's folder.
func addPrograms(found map[string]string, component, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the programs of %s: %w", component, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("list the programs of %s: %w", component, err)
		}
		if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			continue
		}
		name := e.Name()
		if component == partEtcd && name == "server" { // go build names it after the folder of its package
			name = partEtcd
		}
		if other, taken := found[name]; taken {
			return fmt.Errorf("list the programs of %s: %s is a program of another component too: %s", component, name, other)
		}
		found[name] = filepath.Join(dir, e.Name())
	}
	return nil
}
