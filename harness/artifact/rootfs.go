// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/artifact/aptget"
	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
)

// rootfsRecipe changes when the way the base system is made does.
const rootfsRecipe = "rootfs-1"

// nodePackages are what a node needs beyond a minimal system: kind's own list
// without storage tools, and the container runtime from the distribution.
func nodePackages() []string {
	return []string{
		"bash", "ca-certificates", "conntrack", "containerd", "curl", "ethtool", "iproute2", "ipset", "iptables",
		"iputils-ping", "ipvsadm", "jq", "kmod", "libseccomp2", "mount", "nftables", "pigz", "procps", "runc",
		"socat", "systemd", "systemd-sysv", "util-linux",
	}
}

// dropped are the parts of a base system no node reads: they only cost space, and
// what is under /var is copied for every node of every cluster.
func dropped() []string {
	return []string{
		"./dev/*", "./proc/*", "./sys/*", "./run/*", "./tmp/*",
		"./etc/hostname", "./etc/resolv.conf", "./etc/machine-id", // this machine's own
		"./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*", "./usr/share/info/*",
		"./usr/share/lintian/*", "./usr/share/bash-completion/*", "./usr/share/zoneinfo/*",
		"./var/cache/*", "./var/log/*", "./var/lib/apt/lists/*", "./var/lib/dpkg/info/*", "./var/lib/systemd/catalog/*",
	}
}

// system is a base system made with debootstrap, as archives.
type system struct {
	name     string // of its recipe
	revision string // changes when the way it is made does
	packages []string
	whole    string              // archive of everything but what is dropped; "" for none
	chosen   map[string][]string // archive -> patterns of programs, which bring their libraries
}

// nodeSystem is the base system of the nodes, and the small one kube-proxy runs on.
func nodeSystem() system {
	return system{
		name: "rootfs", revision: rootfsRecipe, packages: nodePackages(), whole: "node.tar",
		chosen: map[string][]string{"proxy.tar": proxyPrograms()},
	}
}

// recipe says how a base system is made from the mirror in apt's own sources.
func (b system) recipe() (recipe, error) {
	m, err := findMirror(os.DirFS("/"))
	if err != nil {
		return recipe{}, err
	}
	inputs := append([]string{b.revision, runtime.GOARCH, m.url, m.suite, strings.Join(m.components, ",")}, b.packages...)
	if b.whole != "" {
		inputs = append(inputs, dropped()...)
	}
	for _, archive := range slices.Sorted(maps.Keys(b.chosen)) {
		inputs = append(inputs, b.chosen[archive]...)
	}
	return recipe{name: b.name, version: m.suite, inputs: inputs, build: func(ctx context.Context, dir string, note func(string)) error {
		return b.build(ctx, m, dir, note)
	}}, nil
}

func (b system) build(ctx context.Context, m mirror, dir string, note func(string)) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("making a base system needs root: %w; run it with sudo, or take published images with --source registry", os.ErrPermission)
	}
	if err := needTools(ctx, note); err != nil {
		return err
	}
	root := filepath.Join(dir, "root")
	if err := b.debootstrap(ctx, m, root, note); err != nil {
		return err
	}
	note("packing")
	if b.whole != "" {
		tar := []string{"--create", "--numeric-owner", "--xattrs", "--sort=name", "--directory", root, "--file", filepath.Join(dir, b.whole)}
		for _, d := range dropped() {
			tar = append(tar, "--exclude="+d)
		}
		if _, err := proc.Run(ctx, proc.Command(ctx, "tar", append(tar, ".")...)); err != nil {
			return err
		}
	}
	for archive, patterns := range b.chosen {
		files, err := closure(root, patterns)
		if err != nil {
			return fmt.Errorf("select the files of %s: %w", archive, err)
		}
		list := filepath.Join(dir, archive+".list")
		if err := os.WriteFile(list, []byte(strings.Join(files, "\n")+"\n"), 0o644); err != nil {
			return err
		}
		if _, err := proc.Run(ctx, proc.Command(ctx, "tar", "--create", "--numeric-owner", "--no-recursion", "--directory", root,
			"--file", filepath.Join(dir, archive), "--files-from", list)); err != nil {
			return err
		}
	}
	return os.RemoveAll(root)
}

func (b system) debootstrap(ctx context.Context, m mirror, root string, note func(string)) error {
	args := []string{
		"--mount", "--propagation", "private", "debootstrap", "--variant=minbase",
		"--components=" + strings.Join(m.components, ","), "--include=" + strings.Join(b.packages, ","),
	}
	if m.keyring != "" {
		args = append(args, "--keyring="+m.keyring)
	}
	note("debootstrap " + m.suite)
	defer tick(note, "debootstrap "+m.suite)()
	// In a mount namespace of its own: whatever debootstrap mounts in the new system is
	// gone with it, so that removing the folder never reaches /proc of this machine.
	cmd := proc.Command(ctx, "unshare", append(args, m.suite, root, m.url)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.Env = append(cmd.Env, aptProxy(ctx)...)
	out := &proc.Tail{}
	cmd.Stdout = out
	_, err := proc.Run(ctx, cmd)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %s", err, out) // debootstrap tells its errors on standard output
	}
	return err
}

// needTools installs debootstrap where it is missing: unlike a container engine it
// changes nothing else on the machine.
func needTools(ctx context.Context, note func(string)) error {
	_, err := exec.LookPath("debootstrap")
	if err == nil {
		return nil
	}
	if _, err := os.Stat("/usr/sbin/debootstrap"); err == nil {
		return nil
	}
	note("apt-get install debootstrap")
	return aptget.Install(ctx, "debootstrap")
}

// aptProxy hands apt's proxy to debootstrap, which knows only the environment.
func aptProxy(ctx context.Context) []string {
	if os.Getenv("http_proxy") != "" {
		return nil
	}
	out, err := proc.Run(ctx, proc.Command(ctx, "apt-config", "dump", "--format", "%v%n", "Acquire::http::Proxy"))
	if err != nil || out == "" || out == "DIRECT" {
		return nil
	}
	return []string{"http_proxy=" + out}
}
