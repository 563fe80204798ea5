// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// file is one entry of a layer or a root file system.
type file struct {
	path   string // where it goes, without a leading slash
	source string // a file of this machine, or
	data   []byte // its content, or
	link   string // the target of a symbolic link
	mode   int64
	dir    bool
}

// writeTo writes an entry with nothing of this machine or moment in it: equal
// inputs give equal layers.
func (f file) writeTo(w *tar.Writer) error {
	h := &tar.Header{Name: f.path, Mode: f.mode, Format: tar.FormatPAX, ModTime: time.Unix(0, 0)}
	switch {
	case f.dir:
		h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(f.path, "/")+"/"
		return w.WriteHeader(h)
	case f.link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.link, 0o777
		return w.WriteHeader(h)
	case f.source == "":
		h.Typeflag, h.Size = tar.TypeReg, int64(len(f.data))
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := w.Write(f.data)
		return err
	}
	src, err := os.Open(f.source)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(w, src)
	return err
}

// writeTree writes a base archive (none if empty) and the files over it. No path is
// written twice, which docker would refuse: a file stands for the base's entry and
// for an earlier file of its path, a folder is written where it is new. What drop
// names is left out of the base.
func writeTree(out io.Writer, base string, files []file, drop func(name string) bool) error {
	w := tar.NewWriter(out)
	last := map[string]int{}
	for i, f := range files {
		if !f.dir {
			last[path.Clean(f.path)] = i
		}
	}
	written := map[string]bool{}
	if base != "" {
		if err := copyTar(w, base, func(name string) bool {
			if _, over := last[name]; over || written[name] || (drop != nil && drop(name)) {
				return true
			}
			written[name] = true
			return false
		}); err != nil {
			return err
		}
	}
	for i, f := range files {
		name := path.Clean(f.path)
		if written[name] || (!f.dir && last[name] != i) {
			continue
		}
		written[name] = true
		if err := f.writeTo(w); err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	return w.Close()
}

func copyTar(w *tar.Writer, base string, skip func(name string) bool) error {
	in, err := os.Open(base)
	if err != nil {
		return err
	}
	defer in.Close()
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", base, err)
		}
		if skip(path.Clean(h.Name)) {
			continue
		}
		if err := w.WriteHeader(h); err != nil {
			return fmt.Errorf("write %s: %w", h.Name, err)
		}
		if _, err := io.Copy(w, r); err != nil {
			return fmt.Errorf("write %s: %w", h.Name, err)
		}
	}
}

// layer is an uncompressed image layer that is written anew from its files each
// time it is read: no copy of it lies in memory or on disk. Compressing it would
// cost seconds, and a node unpacks it on the same machine.
type layer struct {
	base  string
	files []file
	hash  v1.Hash
	size  int64
}

func newLayer(base string, files []file) (*layer, error) {
	l := &layer{base: base, files: files}
	h := sha256.New()
	count := &counter{}
	if err := writeTree(io.MultiWriter(h, count), base, files, nil); err != nil {
		return nil, err
	}
	l.hash = v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
	l.size = count.n
	return l, nil
}

func (l *layer) Digest() (v1.Hash, error)             { return l.hash, nil }
func (l *layer) DiffID() (v1.Hash, error)             { return l.hash, nil }
func (l *layer) Size() (int64, error)                 { return l.size, nil }
func (l *layer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
func (l *layer) Compressed() (io.ReadCloser, error)   { return l.open(), nil }
func (l *layer) Uncompressed() (io.ReadCloser, error) { return l.open(), nil }

func (l *layer) open() io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeTree(w, l.base, l.files, nil)) }()
	return r
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// text is a file given by its content.
func text(name, content string, mode int64) file {
	return file{path: name, data: []byte(content), mode: mode}
}
