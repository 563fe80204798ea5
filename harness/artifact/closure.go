// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// proxyPrograms are what kube-proxy runs: every iptables name (through Debian's
// alternatives, which stand at nft), its extensions, nft, conntrack, ipset, modprobe.
// lib is the link below which kubeadm mounts the kernel's modules.
func proxyPrograms() []string {
	return []string{
		"usr/sbin/iptables", "usr/sbin/iptables-save", "usr/sbin/iptables-restore",
		"usr/sbin/ip6tables", "usr/sbin/ip6tables-save", "usr/sbin/ip6tables-restore",
		"usr/lib/*-linux-gnu/xtables/*.so",
		"usr/sbin/nft", "usr/sbin/conntrack", "usr/sbin/ipset", "usr/sbin/ipvsadm", "sbin/modprobe",
		"lib", "etc/protocols", "etc/services", "etc/ld.so.conf", "etc/ld.so.conf.d/*.conf",
	}
}

// closure lists the files below root (relative, parents first) that the named ones
// (glob patterns) need: symbolic links on the way, program interpreters and shared
// libraries. Patterns that match nothing are left out.
func closure(root string, patterns []string) ([]string, error) {
	c := collector{root: root, seen: map[string]bool{}}
	if dirs, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu")); err == nil {
		for _, d := range dirs {
			c.libDirs = append(c.libDirs, strings.TrimPrefix(d, root+"/"))
		}
	}
	c.libDirs = append(c.libDirs, "usr/lib", "usr/lib64")
	for _, p := range patterns {
		matches, err := filepath.Glob(filepath.Join(root, p))
		if err != nil {
			return nil, fmt.Errorf("pattern %s: %w", p, err)
		}
		for _, m := range matches {
			if err := c.add(strings.TrimPrefix(m, root+"/")); err != nil {
				return nil, err
			}
		}
	}
	list := make([]string, 0, len(c.seen))
	for f := range c.seen {
		list = append(list, f)
	}
	sort.Strings(list) // a parent sorts before what is in it
	return list, nil
}

type collector struct {
	root    string
	libDirs []string
	seen    map[string]bool
}

// add takes a path, following links inside root, and what the file needs.
func (c *collector) add(name string) error {
	real, err := c.walk(name, 0)
	if err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(c.root, real))
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	file, err := elf.Open(filepath.Join(c.root, real))
	var notELF *elf.FormatError
	if errors.As(err, &notELF) || errors.Is(err, io.EOF) { // EOF: shorter than a header
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		text := make([]byte, p.Filesz)
		if _, err := p.ReadAt(text, 0); err != nil {
			return fmt.Errorf("read interpreter of %s: %w", real, err)
		}
		if err := c.add(strings.Trim(string(text), "/\x00")); err != nil {
			return err
		}
	}
	libs, err := file.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read libraries of %s: %w", real, err)
	}
	for _, lib := range libs {
		if err := c.addLibrary(lib, real); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) addLibrary(lib, by string) error {
	for _, dir := range c.libDirs {
		name := path.Join(dir, lib)
		if _, err := os.Lstat(filepath.Join(c.root, name)); err != nil {
			continue
		}
		if c.seen[name] {
			return nil
		}
		return c.add(name)
	}
	return fmt.Errorf("library %s of %s: %w", lib, by, fs.ErrNotExist)
}

// walk records every component of a path and returns where it leads within root.
func (c *collector) walk(name string, depth int) (string, error) {
	if depth > 40 {
		return "", fmt.Errorf("%s: too many symbolic links", name)
	}
	at := ""
	parts := strings.Split(path.Clean(name), "/")
	for i, part := range parts {
		next := path.Join(at, part)
		info, err := os.Lstat(filepath.Join(c.root, next))
		if err != nil {
			return "", err
		}
		c.seen[next] = true
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		target, err := os.Readlink(filepath.Join(c.root, next))
		if err != nil {
			return "", err
		}
		if !path.IsAbs(target) {
			target = path.Join("/", at, target)
		}
		rest := append([]string{strings.TrimPrefix(path.Clean(target), "/")}, parts[i+1:]...)
		return c.walk(path.Join(rest...), depth+1)
	}
	return at, nil
}
