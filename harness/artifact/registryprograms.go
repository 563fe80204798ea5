// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"archive/tar"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/lbmatrix/lbmatrix/harness/artifact/fetch"
)

// fetchedProgramsRecipe changes when the way programs are taken out of images does.
const fetchedProgramsRecipe = "fetched-programs-1"

// publishedPrograms are the images that the programs of a part are published in, by
// program. etcd's project names the first of its two registries the primary one.
func publishedPrograms(part, version string) (map[string]string, error) {
	switch part {
	case partKubernetes:
		out := map[string]string{}
		for _, name := range []string{"kube-apiserver", "kube-proxy", "kubectl"} {
			out[name] = "registry.k8s.io/" + name + ":" + version
		}
		return out, nil
	case partEtcd:
		return map[string]string{partEtcd: "gcr.io/etcd-development/etcd:" + version}, nil
	}
	a, err := lookupAddon(part)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name := range a.refs {
		out[name] = a.ref(name, version)
	}
	return out, nil
}

// programRefs are the images of a cluster of processes.
func programRefs(set Set) ([]string, error) {
	parts := processParts(set)
	var out []string
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		images, err := publishedPrograms(part, parts[part])
		if err != nil {
			return nil, err
		}
		for _, name := range slices.Sorted(maps.Keys(images)) {
			out = append(out, images[name])
		}
	}
	return out, nil
}

// registryProvider takes programs out of the images that their projects publish.
type registryProvider struct{ store *Store }

func (p registryProvider) programs(_ context.Context, part, version string) (recipe, error) {
	images, err := publishedPrograms(part, version)
	if err != nil {
		return recipe{}, err
	}
	names := slices.Sorted(maps.Keys(images))
	inputs, digests := []string{fetchedProgramsRecipe, runtime.GOARCH}, map[string]string{}
	for _, name := range names {
		if digests[name], err = p.store.registries.digest(Set{Processes: true}, images[name]); err != nil {
			return recipe{}, err
		}
		inputs = append(inputs, name, images[name], digests[name])
	}
	return recipe{
		name: part, version: version, inputs: inputs,
		build: func(ctx context.Context, dir string, note func(string)) error {
			for _, name := range names {
				folder, err := p.store.fetchedImage(ctx, images[name], digests[name])
				if err != nil {
					return err
				}
				img, err := fetch.Open(folder)
				if err != nil {
					return err
				}
				note("taking " + name + " out of " + images[name])
				if err := takeOut(img, name, filepath.Join(dir, name)); err != nil {
					return fmt.Errorf("take %s out of %s: %w", name, images[name], err)
				}
			}
			return nil
		},
	}, nil
}

// takeOut writes the program of that name which an image's file system has to a file. It
// must run without that file system: be linked statically.
func takeOut(img v1.Image, name, to string) error {
	files := mutate.Extract(img)
	defer files.Close()
	found := ""
	for r := tar.NewReader(files); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if path.Base(h.Name) != name || h.Typeflag != tar.TypeReg || h.FileInfo().Mode()&0o111 == 0 {
			continue
		}
		if found != "" {
			return fmt.Errorf("both %s and %s are programs of that name", found, h.Name)
		}
		found = h.Name
		if err := writeProgram(to, r); err != nil {
			return err
		}
	}
	if found == "" {
		return errors.New("there is no program of that name in it")
	}
	return checkStatic(to)
}

func writeProgram(to string, r io.Reader) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// checkStatic says whether a program is for this machine and needs no interpreter, as a
// dynamically linked one does.
func checkStatic(file string) error {
	f, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("it is no program for Linux: %w", err)
	}
	defer f.Close()
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]; f.Machine != want {
		return fmt.Errorf("it is a program for %s, and this machine is %s: was the manifest of another architecture pinned?", f.Machine, want)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("it is linked dynamically, and its libraries are in its image only; build it with --source go-module, or run it with --provider kind")
		}
	}
	return nil
}
