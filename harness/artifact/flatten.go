// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// flatten makes one layer of an image's, for the reason that [image] gives. What the
// image runs, and as whom, stays; its digest does not, so it is checked before.
func flatten(img v1.Image) (v1.Image, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	l, err := newMerged(img)
	if err != nil {
		return nil, err
	}
	flat, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, err
	}
	made, err := flat.ConfigFile()
	if err != nil {
		return nil, err
	}
	made = made.DeepCopy()
	made.Architecture, made.OS, made.Variant, made.Config = config.Architecture, config.OS, config.Variant, config.Config
	return mutate.ConfigFile(flat, labelled(made))
}

// labelled marks an image as the project's.
func labelled(config *v1.ConfigFile) *v1.ConfigFile {
	config = config.DeepCopy()
	labels := maps.Clone(config.Config.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[label] = "1"
	config.Config.Labels = labels
	return config
}

// merged is the file system of an image as one uncompressed layer, put together anew
// each time it is read.
type merged struct {
	img  v1.Image
	hash v1.Hash
	size int64
}

func newMerged(img v1.Image) (*merged, error) {
	h := sha256.New()
	r := mutate.Extract(img)
	defer r.Close()
	n, err := io.Copy(h, r)
	if err != nil {
		return nil, fmt.Errorf("merge layers: %w", err)
	}
	return &merged{img: img, hash: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}, size: n}, nil
}

func (l *merged) Digest() (v1.Hash, error)             { return l.hash, nil }
func (l *merged) DiffID() (v1.Hash, error)             { return l.hash, nil }
func (l *merged) Size() (int64, error)                 { return l.size, nil }
func (l *merged) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
func (l *merged) Compressed() (io.ReadCloser, error)   { return mutate.Extract(l.img), nil }
func (l *merged) Uncompressed() (io.ReadCloser, error) { return mutate.Extract(l.img), nil }
