// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// carriedFile makes a store one that was carried here: it holds what somebody elsewhere
// put into it, and makes nothing.
const carriedFile = "carried.json"

// carried says what a carried store holds. The keys of artifacts are not known there: they
// need a toolchain, or the digests of who fetched them.
type carried struct {
	Source   Source            `json:"source"`   // where programs and charts came from
	Own      map[string]string `json:"own"`      // programs of this module: name -> file below the store
	Programs map[string]string `json:"programs"` // "etcd v3.7.3" -> folder below the store
	Charts   map[string]string `json:"charts"`   // "metallb v0.15.2" -> folder below the store
}

// readCarried is nil for a store that makes its own.
func readCarried(dir string) (*carried, error) {
	raw, err := os.ReadFile(filepath.Join(dir, carriedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	c := &carried{}
	if err == nil {
		err = json.Unmarshal(raw, c)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", carriedFile, err)
	}
	return c, nil
}

// errNotCarried is something a carried store was not given.
var errNotCarried = errors.New("it was not carried to this machine, which makes nothing itself")

func (s *Store) carriedOwn(name string) (program, error) {
	file, ok := s.carried.Own[name]
	if !ok {
		return program{}, fmt.Errorf("find %s: %w", name, errNotCarried)
	}
	digest, err := fileDigest(filepath.Join(s.dir, file))
	if err != nil {
		return program{}, fmt.Errorf("find %s: %w", name, err)
	}
	return program{path: filepath.Join(s.dir, file), digest: digest}, nil
}

func (s *Store) carriedChart(title string) (string, error) {
	dir, ok := s.carried.Charts[title]
	if !ok {
		return "", fmt.Errorf("find chart of %s: %w", title, errNotCarried)
	}
	return filepath.Join(s.dir, dir), nil
}

// carriedPrograms are the folders of a set's programs, by part.
func (s *Store) carriedPrograms(set Set) (map[string]string, error) {
	dirs := map[string]string{}
	for part, version := range processParts(set) {
		dir, ok := s.carried.Programs[part+" "+version]
		if !ok {
			return nil, fmt.Errorf("find the programs of %s %s: %w", part, version, errNotCarried)
		}
		dirs[part] = filepath.Join(s.dir, dir)
	}
	return dirs, nil
}

// Carry lays a store out in the empty folder dir that gives, on a machine without network
// and toolchain, the programs and charts of sets: what a cluster of processes needs. What
// is not there yet is built. Files are hard links where they can be.
func (s *Store) Carry(ctx context.Context, sets []Set, dir string) error {
	c := carried{Source: GoModule, Own: map[string]string{}, Programs: map[string]string{}, Charts: map[string]string{}}
	if s.from == Registry {
		c.Source = Registry
	}
	for _, sub := range storeFolders() {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return fmt.Errorf("carry artifacts: %w", err)
		}
	}
	for _, set := range sets {
		if err := s.carrySet(ctx, set, dir, &c); err != nil {
			return fmt.Errorf("carry artifacts: %w", err)
		}
	}
	probe, err := s.ProbeBinary(ctx)
	if err != nil {
		return fmt.Errorf("carry artifacts: %w", err)
	}
	c.Own["lbprobe"] = "lbprobe"
	if err := linkTree(probe, filepath.Join(dir, "lbprobe")); err != nil {
		return fmt.Errorf("carry artifacts: %w", err)
	}
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("carry artifacts: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, carriedFile), append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("carry artifacts: %w", err)
	}
	return nil
}

func (s *Store) carrySet(ctx context.Context, set Set, dir string, c *carried) error {
	recipes, err := s.programRecipes(ctx, set)
	if err != nil {
		return err
	}
	for _, r := range recipes {
		if c.Programs[r.title()] != "" {
			continue // another set has it too
		}
		from, err := s.ensure(ctx, r)
		if err != nil {
			return err
		}
		c.Programs[r.title()] = filepath.Join("artifacts", r.folder())
		if err := linkTree(from, filepath.Join(dir, c.Programs[r.title()])); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(set.Components)) {
		version := set.Components[name]
		title := name + " " + version
		if c.Charts[title] != "" {
			continue
		}
		chart, err := s.Chart(ctx, name, version)
		if err != nil {
			return err
		}
		c.Charts[title] = filepath.Join("charts", name+"-"+version)
		if err := linkTree(chart, filepath.Join(dir, c.Charts[title])); err != nil {
			return err
		}
	}
	return nil
}

// linkTree makes a file, or a folder with all that is in it, appear in another place: hard
// links, or copies where the places lie on different file systems.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if os.Link(name, target) == nil {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return copyFile(name, target, info.Mode().Perm())
	})
}
