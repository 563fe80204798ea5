// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/artifact/aptget"
)

// tool is a program the daemon needs and the Debian package that holds it.
type tool struct{ program, pkg string }

func tools() []tool {
	return []tool{
		{"dockerd", "docker.io"},
		{"docker", "docker.io"},
		{"runc", "runc"},
		{"ip", "iproute2"},
		{"nsenter", "util-linux"},
		{"iptables", "iptables"},
		{"modprobe", "kmod"},
	}
}

// missingPackages lists the packages whose programs are not there. A docker command
// alone (a client without a daemon) does not count as docker.
func missingPackages(look func(string) (string, error)) []string {
	var pkgs []string
	seen := map[string]bool{}
	for _, t := range tools() {
		if _, err := look(t.program); err != nil && !seen[t.pkg] {
			seen[t.pkg] = true
			pkgs = append(pkgs, t.pkg)
		}
	}
	return pkgs
}

// lookPath also looks where daemons are installed: an ordinary user's PATH, and
// some a root shell inherits, lack the sbin folders.
func lookPath(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"} {
		path := dir + "/" + program
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", program, exec.ErrNotFound)
}

func install(ctx context.Context, pkgs []string, out io.Writer) error {
	fmt.Fprintf(out, "apt-get install %s\n", strings.Join(pkgs, " "))
	err := aptget.Install(ctx, append([]string{"ca-certificates"}, pkgs...)...)
	if errors.Is(err, aptget.ErrNotDebian) {
		return fmt.Errorf("install docker: %w; install docker yourself and start it, or set DOCKER_HOST", err)
	}
	if err != nil {
		return fmt.Errorf("install docker: %w", err)
	}
	return nil
}
