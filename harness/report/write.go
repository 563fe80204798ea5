// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The files of a run's folder that this package writes.
const (
	RunFile      = "run.json"
	VerdictsFile = "verdicts.json"
	JUnitFile    = "junit.xml"
	MatrixFile   = "matrix.md"
)

// Write writes verdicts.json, junit.xml and matrix.md into a run's folder. It may be
// called after every scenario: each file is replaced as a whole, so that a killed run
// leaves the last complete one.
func Write(dir string, m Matrix) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	for _, f := range []struct {
		name  string
		write func(io.Writer, Matrix) error
	}{
		{VerdictsFile, WriteVerdicts}, // first: the others can be made from it
		{JUnitFile, WriteJUnit},
		{MatrixFile, WriteMarkdown},
	} {
		var b bytes.Buffer
		if err := f.write(&b, m); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		if err := replace(filepath.Join(dir, f.name), b.Bytes()); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return nil
}

// WriteRun writes run.json, which a run's folder holds from the start.
func WriteRun(dir string, r Run) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write run: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write run: %w", err)
	}
	if err := replace(filepath.Join(dir, RunFile), append(data, '\n')); err != nil {
		return fmt.Errorf("write run: %w", err)
	}
	return nil
}

// ReadRun reads a run.json.
func ReadRun(dir string) (Run, error) {
	var r Run
	data, err := os.ReadFile(filepath.Join(dir, RunFile))
	if err != nil {
		return r, fmt.Errorf("read run: %w", err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("read run %s: %w", dir, err)
	}
	return r, nil
}

// replace puts data in place of a file, or leaves the old file whole. The data is on
// disk before it gets its name: after a crash there is no empty file under it.
func replace(path string, data []byte) (err error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	tmp, err := os.CreateTemp(dir, "."+base+".*")
	if err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("replace %s: %w", path, err)
			_ = tmp.Close() // closed already on some paths; the first error is the one that tells
			_ = os.Remove(tmp.Name())
		}
	}()
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Chmod(0o644); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
