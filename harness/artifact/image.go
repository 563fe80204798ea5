// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"fmt"
	"io"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// label marks everything the project puts into a daemon.
const label = "lbmatrix"

// image is a container image of one layer. One layer only: containerd in a build
// container lies on an overlay, where it cannot mount a second one to unpack.
type image struct {
	ref        string
	base       string // archive the files go over; empty for none
	files      []file
	entrypoint []string
	made       v1.Image // an image that is there already, instead of all the above
}

func (i image) build() (v1.Image, error) {
	if i.made != nil {
		img, err := flatten(i.made)
		if err != nil {
			return nil, fmt.Errorf("make image %s: %w", i.ref, err)
		}
		return img, nil
	}
	l, err := newLayer(i.base, i.files)
	if err != nil {
		return nil, fmt.Errorf("make image %s: %w", i.ref, err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, fmt.Errorf("make image %s: %w", i.ref, err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("make image %s: %w", i.ref, err)
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = runtime.GOARCH, "linux"
	config.Config.Entrypoint = i.entrypoint
	config.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	config.Config.Labels = map[string]string{label: "1"}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, fmt.Errorf("make image %s: %w", i.ref, err)
	}
	return img, nil
}

// writeImages writes an archive as `docker load` and `ctr images import` read it.
func writeImages(w io.Writer, images []image) error {
	archive := map[name.Tag]v1.Image{}
	for _, i := range images {
		tag, err := name.NewTag(i.ref)
		if err != nil {
			return fmt.Errorf("write images: %w", err)
		}
		if archive[tag], err = i.build(); err != nil {
			return err
		}
	}
	if err := tarball.MultiWrite(archive, w); err != nil {
		return fmt.Errorf("write images: %w", err)
	}
	return nil
}

// programImage holds one static binary and nothing else.
func programImage(ref, source, target string) image {
	return image{ref: ref, files: []file{{path: target[1:], source: source, mode: 0o755}}, entrypoint: []string{target}}
}
