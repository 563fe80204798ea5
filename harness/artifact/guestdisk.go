// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lbmatrix/lbmatrix/fixtures"
	"github.com/lbmatrix/lbmatrix/harness/artifact/aptget"
	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
)

// Where a guest's files lie: among the fixtures, and in the artifact.
const (
	guestInit      = "guest/init.sh"
	guestInitramfs = "guest/initramfs.sh"
	guestInitrd    = "initrd"
	guestDisk      = "root.ext4"
)

// guestRoom is what a guest's disk has free, in bytes: etcd's data, logs and results of a
// run. The image is sparse, so it costs nothing until it is used.
const guestRoom = 2 << 30

// bootModules are what a guest needs before it can read its disk. Those a kernel has built
// in are no files of it.
func bootModules() []string { return []string{"virtio_pci", "virtio_blk", "ext4"} }

// guestBuild puts a guest together from a kernel's folder and a system's archive.
type guestBuild struct {
	kernel, system, dir string
	note                func(string)
}

func (g guestBuild) run(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("making a guest needs root: %w", os.ErrPermission)
	}
	if err := need(ctx, g.note, "mkfs.ext4", "e2fsprogs"); err != nil {
		return err
	}
	root := filepath.Join(g.dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	g.note("unpacking the system")
	if _, err := proc.Run(ctx, proc.Command(ctx, "tar", "--extract", "--numeric-owner", "--xattrs", "--directory", root, "--file", g.system)); err != nil {
		return err
	}
	if err := g.initramfs(ctx, root); err != nil {
		return fmt.Errorf("make initramfs: %w", err)
	}
	if err := g.finish(ctx, root); err != nil {
		return err
	}
	g.note("writing the disk image")
	if err := WriteExt4(ctx, root, filepath.Join(g.dir, guestDisk), guestRoom); err != nil {
		return err
	}
	return os.RemoveAll(root)
}

// finish adds what is the guest's own to its system.
func (g guestBuild) finish(ctx context.Context, root string) error {
	// usr/lib: lib is a link to it. The copy is hard links where both lie on one file system.
	modules := filepath.Join(root, "usr", "lib", "modules")
	if err := os.MkdirAll(modules, 0o755); err != nil {
		return err
	}
	if _, err := proc.Run(ctx, proc.Command(ctx, "cp", "--recursive", filepath.Join(g.kernel, "lib", "modules")+"/.", modules)); err != nil {
		return err
	}
	configs, err := filepath.Glob(filepath.Join(g.kernel, "boot", "config-*"))
	if err != nil || len(configs) != 1 {
		return fmt.Errorf("find the kernel's configuration: %d files", len(configs))
	}
	config, err := os.ReadFile(configs[0])
	if err != nil {
		return err
	}
	init, err := fixtures.Guest.ReadFile(guestInit)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
		mode os.FileMode
	}{
		{"boot/" + filepath.Base(configs[0]), config, 0o644},
		{"usr/sbin/lbmatrix-init", init, 0o755},
		{"etc/hostname", []byte("lbmatrix-guest\n"), 0o644},
		{"etc/hosts", []byte("127.0.0.1 localhost lbmatrix-guest\n::1 localhost\n"), 0o644},
	} {
		name := filepath.Join(root, f.name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, f.data, f.mode); err != nil {
			return err
		}
	}
	return nil
}

// initramfs packs busybox, the modules of the disks and the first script. The archive is
// written by the busybox that goes into it.
func (g guestBuild) initramfs(ctx context.Context, root string) error {
	release, err := kernelRelease(g.kernel)
	if err != nil {
		return err
	}
	tree := filepath.Join(g.dir, "initramfs")
	for _, d := range []string{"bin", "dev", "modules", "proc", "root", "sys"} {
		if err := os.MkdirAll(filepath.Join(tree, d), 0o755); err != nil {
			return err
		}
	}
	defer os.RemoveAll(tree)
	busybox := filepath.Join(tree, "bin", "busybox")
	script, err := fixtures.Guest.ReadFile(guestInitramfs)
	if err != nil {
		return err
	}
	modules := filepath.Join(g.kernel, "lib", "modules", release)
	order, err := loadOrder(modules, bootModules())
	if err != nil {
		return err
	}
	list := ""
	for _, m := range order {
		list += path.Base(m) + "\n"
		if err := copyFile(filepath.Join(modules, m), filepath.Join(tree, "modules", path.Base(m)), 0o644); err != nil {
			return err
		}
	}
	if err := copyFile(filepath.Join(root, "bin", "busybox"), busybox, 0o755); err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(filepath.Join(tree, "init"), script, 0o755), os.WriteFile(filepath.Join(tree, "modules", "order"), []byte(list), 0o644)); err != nil {
		return err
	}
	pack := proc.Command(ctx, busybox, "sh", "-c", "set -o pipefail; find . | sort | cpio -o -H newc | gzip -9")
	pack.Dir, pack.Env = tree, []string{"PATH=" + os.Getenv("PATH")}
	out, err := os.Create(filepath.Join(g.dir, guestInitrd))
	if err != nil {
		return err
	}
	pack.Stdout = out
	_, err = proc.Run(ctx, pack)
	return errors.Join(err, out.Close())
}

// loadOrder lists the module files that names need, each after what it depends on, from
// modules.dep (modules.dep(5): a file, a colon, the files it needs, nearest first). Names
// without a file are built in, or the kernel has no such thing: its first script will say.
func loadOrder(dir string, names []string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	var order []string
	add := func(file string) {
		if !slices.Contains(order, file) {
			order = append(order, file)
		}
	}
	for _, name := range names {
		for line := range strings.Lines(string(text)) {
			file, needs, ok := strings.Cut(strings.TrimSpace(line), ":")
			base, _, _ := strings.Cut(path.Base(file), ".ko")
			if !ok || strings.ReplaceAll(base, "-", "_") != name {
				continue
			}
			deps := strings.Fields(needs)
			slices.Reverse(deps)
			for _, d := range deps {
				add(d)
			}
			add(file)
		}
	}
	return order, nil
}

// WriteExt4 writes a folder as an ext4 image with room bytes free, without mounting
// anything. Everything in it belongs to root; the image is sparse.
func WriteExt4(ctx context.Context, dir, image string, room int64) error {
	used, err := proc.Run(ctx, proc.Command(ctx, "du", "--summarize", "--block-size=1", dir))
	if err != nil {
		return fmt.Errorf("write disk image: %w", err)
	}
	bytes, err := strconv.ParseInt(strings.Fields(used)[0], 10, 64)
	if err != nil {
		return fmt.Errorf("write disk image: %w", err)
	}
	f, err := os.Create(image)
	if err != nil {
		return fmt.Errorf("write disk image: %w", err)
	}
	// A twentieth more, and 16 MiB, for the file system's own tables.
	if err := errors.Join(f.Truncate((bytes+bytes/20+room)>>20<<20+16<<20), f.Close()); err != nil {
		return fmt.Errorf("write disk image: %w", err)
	}
	// No reserved blocks, no journal: nothing outlives the guest.
	args := []string{"-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "root_owner=0:0", "-d", dir, image}
	if _, err := proc.Run(ctx, proc.Command(ctx, tool("mkfs.ext4"), args...)); err != nil {
		return fmt.Errorf("write disk image: %w", err)
	}
	return nil
}

// tool finds a program that may lie where only root looks.
func tool(name string) string {
	if at, err := exec.LookPath(name); err == nil {
		return at
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	return name
}

// need installs the package of a tool where the tool is missing.
func need(ctx context.Context, note func(string), name, pkg string) error {
	if filepath.IsAbs(tool(name)) {
		return nil
	}
	note("apt-get install " + pkg)
	return aptget.Install(ctx, pkg)
}

// copyFile copies without regard to what the file becomes later. Archives are of gigabytes.
func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := out.ReadFrom(in); err != nil {
		return errors.Join(err, out.Close())
	}
	return out.Close()
}
