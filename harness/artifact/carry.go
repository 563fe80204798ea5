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

	"github.com/lbmatrix/lbmatrix/harness/artifact/gobuild"
)

// carriedFile makes a store one that was carried here: it holds what somebody elsewhere
// put into it, and makes nothing.
const carriedFile = "carried.json"

// carried says what a carried store holds beside its artifacts, whose keys need a Go
// toolchain's version to be known and no toolchain.
type carried struct {
	Go     string            `json:"go"`     // version of the toolchain that made the programs
	Own    map[string]string `json:"own"`    // programs of this module: name -> file below the store
	Charts map[string]string `json:"charts"` // "metallb v0.15.2" -> folder below the store
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

// Carry lays a store out in the empty folder dir that gives, on a machine without network
// and toolchain, the programs and charts of sets: what a cluster of processes needs. What
// is not there yet is built. Files are hard links where they can be.
func (s *Store) Carry(ctx context.Context, sets []Set, dir string) error {
	c := carried{Own: map[string]string{}, Charts: map[string]string{}}
	var err error
	if c.Go, err = gobuild.Version(ctx); err != nil {
		return fmt.Errorf("carry artifacts: %w", err)
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
		to := filepath.Join(dir, "artifacts", r.folder())
		if _, err := os.Stat(to); err == nil {
			continue // another set has it too
		}
		from, err := s.ensure(ctx, r)
		if err != nil {
			return err
		}
		if err := linkTree(from, to); err != nil {
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
