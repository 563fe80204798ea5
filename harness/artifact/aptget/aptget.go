// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package aptget installs Debian packages that the harness needs.
package aptget

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
)

// ErrNotDebian says that there is no apt-get here.
var ErrNotDebian = errors.New("this is not a Debian machine (no apt-get)")

// Install installs packages. The package lists are read anew only when the first
// attempt fails: they may be missing or old. It needs root.
func Install(ctx context.Context, packages ...string) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("install %s: %w", strings.Join(packages, ", "), ErrNotDebian)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("install packages: needs root; run: sudo apt-get install %s: %w", strings.Join(packages, " "), os.ErrPermission)
	}
	run := func(args ...string) error {
		// Another apt may hold the lock for a while: unattended upgrades do.
		cmd := proc.Command(ctx, "apt-get", append([]string{"-o", "DPkg::Lock::Timeout=300"}, args...)...)
		cmd.SysProcAttr.Pdeathsig = 0 // killed in the middle it would leave dpkg to be repaired by hand
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		_, err := proc.Run(ctx, cmd)
		return err
	}
	args := append([]string{"install", "-y", "--no-install-recommends"}, packages...)
	if run(args...) == nil {
		return nil
	}
	if err := update(ctx); err != nil {
		return err
	}
	if err := run(args...); err != nil {
		return fmt.Errorf("install %s: %w", strings.Join(packages, ", "), err)
	}
	return nil
}
