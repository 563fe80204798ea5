// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package aptget

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
)

// ErrNoPackage says that apt's sources have no package of a name.
var ErrNoPackage = errors.New("apt's sources have no such package")

// Depends names the packages that a package depends on, the first of each list of
// alternatives (deb-control(5), field Depends). The package lists are read anew when
// they do not know the package and this process is root.
func Depends(ctx context.Context, name string) ([]string, error) {
	if _, err := exec.LookPath("apt-cache"); err != nil {
		return nil, fmt.Errorf("look up package %s: %w", name, ErrNotDebian)
	}
	show := func() (string, error) {
		return proc.Run(ctx, proc.Command(ctx, "apt-cache", "show", "--no-all-versions", name))
	}
	out, err := show()
	if (err != nil || out == "") && ctx.Err() == nil && os.Geteuid() == 0 {
		if err := update(ctx); err != nil {
			return nil, fmt.Errorf("look up package %s: %w", name, err)
		}
		out, err = show()
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("look up package %s: %w", name, context.Cause(ctx))
	}
	if err != nil || out == "" {
		return nil, fmt.Errorf("look up package %s: %w (%s)", name, ErrNoPackage, "apt-get update, or add a source that has it")
	}
	return parseDepends(out), nil
}

// parseDepends reads the Depends field of a control stanza.
func parseDepends(stanza string) []string {
	var names []string
	for line := range strings.Lines(stanza) {
		list, ok := strings.CutPrefix(line, "Depends:")
		if !ok {
			continue
		}
		for relation := range strings.SplitSeq(list, ",") {
			first, _, _ := strings.Cut(relation, "|")
			// A name, then a version in brackets, an architecture after a colon.
			if fields := strings.FieldsFunc(first, func(r rune) bool { return strings.ContainsRune(" \t\n(:", r) }); len(fields) > 0 {
				names = append(names, fields[0])
			}
		}
		return names
	}
	return nil
}

// Extract downloads a package and unpacks its files below dir. Nothing is installed:
// no script of the package runs.
func Extract(ctx context.Context, name, dir string) error {
	work, err := os.MkdirTemp(dir, ".deb-")
	if err != nil {
		return fmt.Errorf("unpack package %s: %w", name, err)
	}
	defer os.RemoveAll(work)
	// apt fetches as a user of its own where that user can write, and warns where not.
	download := proc.Command(ctx, "apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name)
	download.Dir = work
	if _, err := proc.Run(ctx, download); err != nil {
		return fmt.Errorf("download package %s: %w", name, err)
	}
	files, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("download package %s: %d files came: %w", name, len(files), errors.Join(err, ErrNoPackage))
	}
	if _, err := proc.Run(ctx, proc.Command(ctx, "dpkg-deb", "--extract", files[0], dir)); err != nil {
		return fmt.Errorf("unpack package %s: %w", name, err)
	}
	return nil
}

// update reads the package lists anew. It needs root.
func update(ctx context.Context) error {
	cmd := proc.Command(ctx, "apt-get", "-o", "DPkg::Lock::Timeout=300", "update")
	cmd.SysProcAttr.Pdeathsig = 0 // as in Install
	_, err := proc.Run(ctx, cmd)
	if err != nil {
		return fmt.Errorf("read package lists: %w", err)
	}
	return nil
}
