// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/fixtures"
	"github.com/lbmatrix/lbmatrix/harness/artifact/aptget"
	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
)

// The revisions of a guest's recipes: each changes when the way its part is made does.
const (
	guestKernelRecipe = "guest-kernel-1"
	guestSystemRecipe = "guest-system-1"
	guestRecipe       = "guest-1"
)

// Guest is a machine that can be booted: a kernel, its first file system, and a disk.
type Guest struct {
	Name    string // of the kernel, as asked for
	Release string // of the kernel: what uname -r says in the guest
	Kernel  string // file: bzImage
	Initrd  string // file: compressed cpio archive
	Disk    string // file: ext4 image of the system, never written to
	// Root is a folder with the kernel's boot/config-* and lib/modules, laid out as in a
	// running system: it tells what the kernel can do before it is booted.
	Root string
	Key  string // of everything the guest is made of
}

// guestKernels are the kernels a guest can have: Debian's meta packages, whose
// dependency is the newest kernel of its kind.
func guestKernels() map[string]string {
	return map[string]string{"debian-cloud": "linux-image-cloud-amd64"}
}

// DefaultGuestKernel is the kernel of a guest that names none.
const DefaultGuestKernel = "debian-cloud"

// GuestKernels lists the kernels a guest can have.
func GuestKernels() []string { return slices.Sorted(maps.Keys(guestKernels())) }

// guestPackages are what kube-proxy, MetalLB and the harness run in a guest, and what
// people look into it with.
func guestPackages() []string {
	return []string{
		"busybox-static", "ca-certificates", "conntrack", "curl", "ethtool", "iproute2", "ipset", "iptables", "iputils-ping", "ipvsadm",
		"kmod", "mount", "nftables", "procps", "tcpdump", "util-linux",
	}
}

// guestSystem is the base system of guests.
func guestSystem() system {
	return system{name: "rootfs-guest", revision: guestSystemRecipe, packages: guestPackages(), whole: "guest.tar"}
}

// Guest makes a guest with one of [GuestKernels]. Its errors are [ErrNoGuest] where this
// machine can make none.
func (s *Store) Guest(ctx context.Context, kernel string) (Guest, error) {
	made, known, err := guestRecipes(kernel)
	if err != nil {
		return Guest{}, fmt.Errorf("plan guest: %w", err)
	}
	var dirs [2]string
	for i, r := range known {
		if dirs[i], err = s.ensure(ctx, r); err != nil {
			return Guest{}, noGuest(err)
		}
	}
	r := made(dirs[0], dirs[1])
	dir, err := s.ensure(ctx, r)
	if err != nil {
		return Guest{}, noGuest(err)
	}
	release, err := kernelRelease(dirs[0])
	if err != nil {
		return Guest{}, err
	}
	return Guest{
		Name: kernel, Release: release, Root: dirs[0], Kernel: filepath.Join(dirs[0], "boot", "vmlinuz-"+release),
		Initrd: filepath.Join(dir, guestInitrd), Disk: filepath.Join(dir, guestDisk), Key: r.key(),
	}, nil
}

// HasGuest says whether a guest with a kernel is in the store already: making one takes a
// minute or two.
func (s *Store) HasGuest(kernel string) bool {
	made, parts, err := guestRecipes(kernel)
	if err != nil {
		return false
	}
	for _, r := range []recipe{parts[0], parts[1], made("", "")} {
		if m, err := readMeta(filepath.Join(s.dir, "artifacts", r.folder())); err != nil || m.Key != r.key() {
			return false
		}
	}
	return true
}

// ErrNoGuest says that this machine cannot make a guest: it is not Debian's, it is of
// another architecture, its apt has no such kernel, or this process is not root.
var ErrNoGuest = errors.New("no guest can be made here")

// noGuest marks the errors that are about what the machine lacks.
func noGuest(err error) error {
	for _, lack := range []error{aptget.ErrNotDebian, aptget.ErrNoPackage, os.ErrPermission} {
		if errors.Is(err, lack) {
			return fmt.Errorf("%w: %w", ErrNoGuest, err)
		}
	}
	return err
}

// guestRecipes are the recipes of a guest's two parts, kernel and system, and what makes
// the recipe of the whole from the folders these lie in.
func guestRecipes(kernel string) (whole func(kernelDir, systemDir string) recipe, parts [2]recipe, err error) {
	pkg, ok := guestKernels()[kernel]
	if !ok {
		return nil, parts, fmt.Errorf("unknown kernel %q: want one of %s", kernel, strings.Join(GuestKernels(), ", "))
	}
	if runtime.GOARCH != "amd64" {
		return nil, parts, fmt.Errorf("%w: guests are x86-64 machines, this one is %s", ErrNoGuest, runtime.GOARCH)
	}
	m, err := findMirror(os.DirFS("/"))
	if err != nil {
		return nil, parts, fmt.Errorf("%w: %w", ErrNoGuest, err)
	}
	if parts[1], err = guestSystem().recipe(); err != nil {
		return nil, parts, err
	}
	parts[0] = recipe{
		name: "guest-kernel", version: kernel, inputs: []string{guestKernelRecipe, runtime.GOARCH, m.url, m.suite, pkg},
		build: func(ctx context.Context, dir string, note func(string)) error {
			return buildGuestKernel(ctx, pkg, dir, note)
		},
	}
	var scripts []string
	for _, name := range []string{guestInit, guestInitramfs} {
		text, err := fixtures.Guest.ReadFile(name)
		if err != nil {
			return nil, parts, err
		}
		scripts = append(scripts, string(text))
	}
	inputs := append([]string{guestRecipe, parts[0].key(), parts[1].key()}, scripts...)
	return func(kernelDir, systemDir string) recipe {
		return recipe{name: "guest", version: kernel, inputs: inputs, build: func(ctx context.Context, dir string, note func(string)) error {
			return guestBuild{kernel: kernelDir, system: filepath.Join(systemDir, "guest.tar"), dir: dir, note: note}.run(ctx)
		}}
	}, parts, nil
}

// buildGuestKernel unpacks a kernel package: what runs, its configuration, its modules.
func buildGuestKernel(ctx context.Context, meta, dir string, note func(string)) error {
	depends, err := aptget.Depends(ctx, meta)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(depends, func(name string) bool { return strings.HasPrefix(name, "linux-image-") })
	if i < 0 {
		return fmt.Errorf("package %s depends on no linux-image package (%s): %w", meta, strings.Join(depends, ", "), aptget.ErrNoPackage)
	}
	note("downloading " + depends[i])
	if err := aptget.Extract(ctx, depends[i], dir); err != nil {
		return err
	}
	release, err := kernelRelease(dir)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir, "usr")); err != nil {
		return err
	}
	if err := need(ctx, note, "depmod", "kmod"); err != nil {
		return err
	}
	// The package does this when it is installed.
	_, err = proc.Run(ctx, proc.Command(ctx, tool("depmod"), "--basedir", dir, release))
	return err
}

// kernelRelease is the release of the one kernel that lies below dir.
func kernelRelease(dir string) (string, error) {
	const prefix = "vmlinuz-"
	files, err := filepath.Glob(filepath.Join(dir, "boot", prefix+"*"))
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("find kernel in %s: %d files boot/%s*", dir, len(files), prefix)
	}
	return strings.TrimPrefix(filepath.Base(files[0]), prefix), nil
}
