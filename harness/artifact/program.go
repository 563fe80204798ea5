// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/lbmatrix/lbmatrix/harness/artifact/gobuild"
)

// program is a built program of this module and the sha256 of its content.
type program struct{ path, digest string }

// ProbeBinary builds lbprobe and returns its path.
func (s *Store) ProbeBinary(ctx context.Context) (string, error) {
	p, err := s.program(ctx, "lbprobe", s.probe)
	return p.path, err
}

// MainBinary builds lbmatrix and returns its path, for a machine that it is carried to.
func (s *Store) MainBinary(ctx context.Context) (string, error) {
	p, err := s.program(ctx, "lbmatrix", "./cmd/lbmatrix")
	return p.path, err
}

// program builds a program of this module. The go command decides what has changed (a
// second build takes a second), and the content decides the key: an edit that does
// not change the program changes no image.
func (s *Store) program(ctx context.Context, name, pkg string) (program, error) {
	if s.carried != nil {
		return s.carriedOwn(name)
	}
	source, err := gobuild.SourceDir(ctx)
	if err != nil {
		return program{}, fmt.Errorf("build %s: %w", name, err)
	}
	tmp, err := os.MkdirTemp(filepath.Join(s.dir, "tmp"), name+"-")
	if err != nil {
		return program{}, fmt.Errorf("build %s: %w", name, err)
	}
	defer os.RemoveAll(tmp)
	built := filepath.Join(tmp, name)
	if err := gobuild.Build(ctx, gobuild.Spec{Dir: source, Packages: []string{pkg}, Out: built}); err != nil {
		return program{}, fmt.Errorf("build %s: %w", name, err)
	}
	digest, err := fileDigest(built)
	if err != nil {
		return program{}, fmt.Errorf("build %s: %w", name, err)
	}
	dir, err := s.ensure(ctx, recipe{
		name: name, version: digest[:keyLength], inputs: []string{digest, runtime.GOARCH},
		build: func(_ context.Context, dir string, _ func(string)) error {
			return os.Rename(built, filepath.Join(dir, name))
		},
	})
	if err != nil {
		return program{}, err
	}
	return program{path: filepath.Join(dir, name), digest: digest}, nil
}

func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
