// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/artifact/fetch"
)

// ciliumImages changes when the way Cilium's images are put together does.
const ciliumImages = "cilium-images-1"

// ciliumAddon is Cilium's agent and operator. What the agent's image holds beside
// Cilium's own programs (images/cilium and images/runtime in its module) comes from
// the distribution: clang, which compiles the datapath on the node, iptables, ipset,
// and a shell for the chart's init containers. Envoy is not among it.
func ciliumAddon() addon {
	return addon{
		chart: "install/kubernetes/cilium",
		refs: map[string]string{
			"cilium":           "quay.io/cilium/cilium:{version}",
			"operator-generic": "quay.io/cilium/operator-generic:{version}",
		},
		published: fetch.Chart{Repository: "https://helm.cilium.io", Name: "cilium"},
		tags:      "ipam_provider_operator", // the operator the chart calls generic
		flags:     "-X github.com/cilium/cilium/pkg/version.ciliumVersion={version}",
		base: system{
			name: baseName("cilium"), revision: ciliumImages,
			packages: []string{"bash", "ca-certificates", "clang-19", "iproute2", "ipset", "iptables", "kmod", "mount", "util-linux"},
			chosen:   map[string][]string{"agent.tar": ciliumPrograms()},
		},
		images: ciliumContents,
	}
}

// ciliumPrograms are what the agent and the chart's init containers call.
func ciliumPrograms() []string {
	patterns := []string{
		"bin/sh", "bin/bash", "usr/bin/env", "usr/bin/find", "bin/grep", "bin/sed", "bin/mount", "bin/umount", "usr/bin/nsenter",
		"sbin/ip", "sbin/tc", "sbin/bridge", "usr/sbin/ipset", "sbin/modprobe",
		"usr/sbin/iptables*", "usr/sbin/ip6tables*", "usr/sbin/xtables*", "usr/lib/*-linux-gnu/xtables/*.so",
		"usr/bin/clang-[0-9]*", "usr/lib/llvm-*/lib/clang/*/include/*.h",
		"lib", "etc/protocols", "etc/services", "etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/ld.so.conf", "etc/ld.so.conf.d/*.conf",
		"etc/ssl/certs/ca-certificates.crt",
	}
	for _, name := range []string{
		"basename", "cat", "chmod", "chown", "cp", "cut", "date", "dirname", "echo", "false", "head", "id", "ln", "ls", "mkdir", "mv",
		"readlink", "rm", "rmdir", "sleep", "sort", "stat", "tail", "test", "touch", "tr", "true", "uname", "wc",
	} {
		patterns = append(patterns, "usr/bin/"+name, "bin/"+name)
	}
	return patterns
}

func ciliumContents(ctx context.Context, a addonFolders) ([]image, error) {
	module, err := a.module(ctx)
	if err != nil {
		return nil, err
	}
	clang, err := ciliumCompiler(a.base)
	if err != nil {
		return nil, err
	}
	// go build names a program after its folder; the chart knows it by another name.
	program := func(folder, target string) file {
		return file{path: target, source: filepath.Join(a.programs, folder), mode: 0o755}
	}
	files := []file{
		program("daemon", "usr/bin/cilium-agent"),
		program("cilium-dbg", "usr/bin/cilium-dbg"),
		{path: "usr/bin/cilium", link: "cilium-dbg"},
		program("responder", "usr/bin/cilium-health-responder"),
		program("mount", "usr/bin/cilium-mount"),
		program("sysctlfix", "usr/bin/cilium-sysctlfix"),
		program("cilium-cni", "opt/cni/bin/cilium-cni"),
		{path: "usr/local/bin/clang", link: "/" + clang},
		{path: "init-container.sh", source: filepath.Join(module, "images/cilium/init-container.sh"), mode: 0o755},
		{path: "install-plugin.sh", source: filepath.Join(module, "plugins/cilium-cni/install-plugin.sh"), mode: 0o755},
		{path: "cni-uninstall.sh", source: filepath.Join(module, "plugins/cilium-cni/cni-uninstall.sh"), mode: 0o755},
		{path: "tmp", dir: true, mode: 0o1777},
		{path: "home/cilium", dir: true, mode: 0o755},
	}
	sources, err := ciliumDatapath(filepath.Join(module, "bpf"))
	if err != nil {
		return nil, err
	}
	return []image{
		{
			ref: "quay.io/cilium/cilium:" + a.version, base: filepath.Join(a.base, "agent.tar"),
			files: append(files, sources...), entrypoint: []string{"/usr/bin/cilium-dbg"},
		},
		programImage("quay.io/cilium/operator-generic:"+a.version, filepath.Join(a.programs, "operator"), "/usr/bin/cilium-operator-generic"),
	}, nil
}

// ciliumDatapath are the BPF sources, where the agent looks for them (its Makefile's
// install-bpf), without their tests.
func ciliumDatapath(dir string) ([]file, error) {
	const target = "var/lib/cilium/bpf"
	var files []file
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel == "tests" || rel == "complexity-tests" {
				return filepath.SkipDir
			}
			files = append(files, file{path: path.Join(target, filepath.ToSlash(rel)), dir: true, mode: 0o755})
			return nil
		}
		files = append(files, file{path: path.Join(target, filepath.ToSlash(rel)), source: name, mode: 0o644})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read datapath sources: %w", err)
	}
	return files, nil
}

// ciliumCompiler finds clang in the base system: its name carries its version.
func ciliumCompiler(base string) (string, error) {
	list, err := os.ReadFile(filepath.Join(base, "agent.tar.list"))
	if err != nil {
		return "", fmt.Errorf("find clang: %w", err)
	}
	for line := range strings.Lines(string(list)) {
		name := strings.TrimSpace(line)
		if ok, _ := path.Match("usr/bin/clang-[0-9]*", name); ok {
			return name, nil
		}
	}
	return "", fmt.Errorf("find clang: %s holds none", base)
}
