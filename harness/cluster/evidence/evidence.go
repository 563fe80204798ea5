// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package evidence gathers what commands print into files, for people who ask what a
// cluster looked like. Every provider says what is worth gathering; this is how.
package evidence

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// each bounds one file: a hung node must not hang the run's end.
const each = 30 * time.Second

// atOnce is how many files are gathered beside one another: two cores are usual, and more
// only makes each one slower.
const atOnce = 4

// File is one piece of evidence.
type File struct {
	Path string // its folder is made
	// Write gathers it; what was written before an error is kept.
	Write func(context.Context, *os.File) error
}

// Collect gathers what it can and joins the errors, each with its file's name.
func Collect(ctx context.Context, files []File) error {
	errs := make([]error, len(files))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, f := range files {
		g.Go(func() error { errs[i] = f.collect(ctx); return nil })
	}
	_ = g.Wait() // errors are in errs
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("collect evidence: %w", err)
	}
	return nil
}

func (f File) collect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, each)
	defer cancel()
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return err
	}
	out, err := os.Create(f.Path)
	if err != nil {
		return err
	}
	err = f.Write(ctx, out)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(f.Path), err)
	}
	return nil
}
