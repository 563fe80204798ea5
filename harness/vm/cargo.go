// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package vm

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/lbmatrix/lbmatrix/harness/guest/job"
)

// load puts into a folder what the guest's third disk holds.
func (o *Options) load(ctx context.Context, dir string) error {
	program := o.Program
	if program == "" {
		var err error
		if program, err = o.Store.MainBinary(ctx); err != nil {
			return fmt.Errorf("load guest: %w", err)
		}
	}
	if err := copyFile(program, filepath.Join(dir, job.Binaries, "lbmatrix"), 0o755); err != nil {
		return fmt.Errorf("load guest: %w", err)
	}
	if err := o.Store.Carry(ctx, o.Sets, filepath.Join(dir, job.CacheDir)); err != nil {
		return fmt.Errorf("load guest: %w", err)
	}
	for there, here := range o.Files {
		if !filepath.IsLocal(there) {
			return fmt.Errorf("load guest: %s is outside its working folder", there)
		}
		if err := copyFile(here, filepath.Join(dir, job.WorkDir, there), 0o644); err != nil {
			return fmt.Errorf("load guest: %w", err)
		}
	}
	return nil
}

func copyFile(from, to string, mode os.FileMode) (err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close() // the first error is the one to tell
		return err
	}
	return out.Close()
}
