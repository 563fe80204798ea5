// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package job

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// Report says how a guest's job went.
type Report struct {
	Place
	Kernel   string        `json:"kernel"`
	Pace     time.Duration `json:"paceNS"` // what the measure of package pace took in the guest
	Limit    time.Duration `json:"limitNS"`
	Elapsed  time.Duration `json:"elapsedNS"`  // of the command
	UpToWork time.Duration `json:"upToWorkNS"` // from the kernel's start to the command's
	Code     int           `json:"code"`
	Killed   bool          `json:"killed,omitempty"` // the command was ended at its limit
}

// Write stores a report in a file.
func (r Report) Write(file string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write guest report: %w", err)
	}
	if err := os.WriteFile(file, append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("write guest report: %w", err)
	}
	return nil
}

// The archive of a job: files of the results folder, the report, and last the exit code.
// The machine's own exit code says nothing, it is 0 whatever happened in it; and an
// archive without its last file is one that was not finished.
const (
	reportName = "guest.json"
	exitName   = "exit"
	packPrefix = ResultsDir + "/"
)

// MaxResults bounds what a guest can bring back, in bytes: the size of the disk it writes
// to, which is sparse on the host.
const MaxResults = 1 << 30

// ErrNoExit says that an archive has no exit code: the guest did not get to its end.
var ErrNoExit = errors.New("the guest left no exit code")

// Pack writes the archive of a finished job. A results folder that is not there gives an
// archive without files. Symbolic links and what is no regular file are left out.
func Pack(w io.Writer, results string, r Report) error {
	out := tar.NewWriter(w)
	root, err := os.OpenRoot(results)
	if err == nil {
		defer root.Close()
		err = addFiles(out, root.FS())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pack results: %w", err)
	}
	report, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("pack results: %w", err)
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{reportName, report}, {exitName, fmt.Appendf(nil, "%d\n", r.Code)}} {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: int64(len(f.data)), Mode: 0o644}); err != nil {
			return fmt.Errorf("pack results: %w", err)
		}
		if _, err := out.Write(f.data); err != nil {
			return fmt.Errorf("pack results: %w", err)
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("pack results: %w", err)
	}
	return nil
}

func addFiles(out *tar.Writer, from fs.FS) error {
	return fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f, err := from.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		h := &tar.Header{Typeflag: tar.TypeReg, Name: packPrefix + name, Size: info.Size(), Mode: int64(info.Mode().Perm()), ModTime: info.ModTime()}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		// A file that grows while it is read, a log, is taken as long as it was.
		_, err = io.CopyN(out, f, info.Size())
		return err
	})
}

// Unpack reads a job's archive and writes its result files below dir, which must exist.
// The error is [ErrNoExit] where the archive has no end; what came is then written all
// the same.
func Unpack(r io.Reader, dir string) (Report, error) {
	var report Report
	root, err := os.OpenRoot(dir)
	if err != nil {
		return report, fmt.Errorf("unpack results: %w", err)
	}
	defer root.Close()
	ended, room := false, int64(MaxResults)
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if err != nil {
			if ended && errors.Is(err, io.EOF) {
				return report, nil
			}
			return report, unfinished(err)
		}
		name := path.Clean(h.Name)
		switch {
		case name == exitName:
			if _, err := fmt.Fscanf(in, "%d\n", &report.Code); err != nil {
				return report, unfinished(fmt.Errorf("read %s: %w", exitName, err))
			}
			ended = true
		case name == reportName:
			if err := json.NewDecoder(in).Decode(&report); err != nil {
				return report, unfinished(fmt.Errorf("read %s: %w", reportName, err))
			}
		case strings.HasPrefix(name, packPrefix) && h.Typeflag == tar.TypeReg:
			// Sizes are what the guest says: a few bytes may claim to be a file of many holes.
			if room -= h.Size; h.Size > MaxResults || room < 0 {
				return report, fmt.Errorf("unpack results: more than %d bytes", int64(MaxResults))
			}
			if err := writeFile(root, strings.TrimPrefix(name, packPrefix), in, h); err != nil {
				return report, unfinished(err)
			}
		}
	}
}

// unfinished tells an archive that stops in the middle, or was never begun, which is what
// a killed guest leaves, from a folder that cannot be written to.
func unfinished(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrHeader) {
		return fmt.Errorf("unpack results: %w (%w)", ErrNoExit, err)
	}
	return fmt.Errorf("unpack results: %w", err)
}

// writeFile writes one file below root, which no name gets out of.
func writeFile(root *os.Root, name string, in io.Reader, h *tar.Header) (err error) {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, in); err != nil {
		return err
	}
	return errors.Join(f.Chmod(fs.FileMode(h.Mode)&0o755|0o600), root.Chtimes(name, h.ModTime, h.ModTime))
}
