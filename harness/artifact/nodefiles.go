// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/lbmatrix/lbmatrix/fixtures"
)

// kindFiles lists the files kind lays over its base image (images/base/files in its
// module), with the modes its Dockerfile gives them and containerd's settings fitted
// to this image.
func kindFiles(module, sandboxImage string) ([]file, error) {
	root := filepath.Join(module, "images", "base", "files")
	var files []file
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil || rel == "." || rel == "LICENSES" || strings.HasPrefix(rel, "LICENSES/") {
			return err
		}
		switch {
		case d.IsDir():
			files = append(files, file{path: rel, dir: true, mode: 0o755})
		case rel == "etc/containerd/config.toml":
			config, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			fitted, err := containerdConfig(string(config), sandboxImage)
			if err != nil {
				return err
			}
			files = append(files, text(rel, fitted, 0o644))
		case strings.HasPrefix(rel, "usr/local/bin/"), strings.HasPrefix(rel, "kind/bin/"):
			files = append(files, file{path: rel, source: name, mode: 0o755})
		default:
			files = append(files, file{path: rel, source: name, mode: 0o644})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read kind's files: %w", err)
	}
	return files, nil
}

// containerdConfig names the pause image that is in the node, so that none is
// pulled, and keeps containerd from asking for OOM scores below its own, which the
// kernel refuses without CAP_SYS_RESOURCE ("can't get final child's PID from pipe").
func containerdConfig(config, sandboxImage string) (string, error) {
	var out strings.Builder
	found := 0
	for line := range strings.Lines(config) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		switch name {
		case "sandbox_image":
			line = fmt.Sprintf("%ssandbox_image = %q\n", indent, sandboxImage)
			found++
		case "restrict_oom_score_adj":
			line = indent + "restrict_oom_score_adj = true\n"
			found++
		}
		out.WriteString(line)
	}
	if found != 2 {
		return "", errors.New("kind's containerd settings have changed: sandbox_image or restrict_oom_score_adj is missing")
	}
	return out.String(), nil
}

// ownFiles are the files under fixtures/node/files.
func ownFiles() ([]file, error) {
	var files []file
	err := fs.WalkDir(fixtures.Node, "node/files", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "node/files" {
			return err
		}
		rel := strings.TrimPrefix(name, "node/files/")
		if d.IsDir() {
			files = append(files, file{path: rel, dir: true, mode: 0o755})
			return nil
		}
		data, err := fs.ReadFile(fixtures.Node, name)
		mode := int64(0o644)
		if path.Base(path.Dir(rel)) == "bin" { // an embedded file has no mode of its own
			mode = 0o755
		}
		files = append(files, file{path: rel, data: data, mode: mode})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read node files: %w", err)
	}
	return files, nil
}

// systemFiles does what kind's Dockerfile does with systemctl and ln. containerd and
// runc come from the distribution, so kind's unit is pointed at them, and the
// wrapper comes before runc in every service's PATH.
func systemFiles(version, runcWrapper string) []file {
	wants := "etc/systemd/system/multi-user.target.wants/"
	files := []file{
		{path: "etc/kubernetes", dir: true, mode: 0o755},
		{path: "etc/kubernetes/manifests", dir: true, mode: 0o755},
		{path: "etc/systemd/system/multi-user.target.wants", dir: true, mode: 0o755},
		{path: "etc/systemd/system/systemd-binfmt.service", link: "/dev/null"}, // binfmt is the kernel's, not the node's
		{path: "usr/local/sbin", dir: true, mode: 0o755},
		{path: "usr/local/sbin/runc", source: runcWrapper, mode: 0o755},
		text("kind/version", version, 0o644),
		text("etc/machine-id", "", 0o444),
	}
	for _, unit := range []string{"kubelet", "containerd", "undo-mount-hacks"} {
		files = append(files, file{path: wants + unit + ".service", link: "/etc/systemd/system/" + unit + ".service"})
	}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		files = append(files, file{path: "usr/local/bin/" + program, link: "/usr/bin/" + program})
	}
	return files
}

// unwanted leaves out the units kind's Dockerfile removes: a node starts kubelet and
// containerd, and nothing that looks for hardware or consoles.
func unwanted(name string) bool {
	for _, pattern := range []string{
		"usr/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
		"usr/lib/systemd/system/multi-user.target.wants/*",
		"etc/systemd/system/*.wants/*",
		"usr/lib/systemd/system/local-fs.target.wants/*",
		"usr/lib/systemd/system/sockets.target.wants/*udev*",
		"usr/lib/systemd/system/sockets.target.wants/*initctl*",
		"usr/lib/systemd/system/basic.target.wants/*",
		"usr/lib/systemd/system/containerd.service",
		"etc/rc[0-6S].d/*", // scripts of packages that came before systemd: ipvsadm, procps
	} {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

// installed puts programs of a folder into the node.
func installed(dir, target string, names ...string) []file {
	files := []file{{path: target, dir: true, mode: 0o755}}
	for _, n := range names {
		files = append(files, file{path: path.Join(target, n), source: filepath.Join(dir, n), mode: 0o755})
	}
	return files
}
