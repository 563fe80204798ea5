// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/artifact/aptget"
)

// qemuProgram is the machine. Guests are x86-64.
const qemuProgram = "qemu-system-x86_64"

// qemuPackages are Debian's packages of it: the machine, its BIOS, and the boot code of
// network cards, which it asks for by name although a guest here has none.
func qemuPackages() []string { return []string{"qemu-system-x86", "seabios", "ipxe-qemu"} }

// ErrNoQEMU says that there is no qemu here and none can be installed.
var ErrNoQEMU = errors.New("no " + qemuProgram + " here")

// FindQEMU finds qemu. Where it is missing it is installed, on Debian and as root; note
// hears of that first.
func FindQEMU(ctx context.Context, note func(string)) (string, error) {
	if at, err := exec.LookPath(qemuProgram); err == nil {
		return at, nil
	}
	how := "on Debian: sudo apt-get install " + strings.Join(qemuPackages(), " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", fmt.Errorf("%w; %s", ErrNoQEMU, how)
	}
	if os.Geteuid() != 0 {
		return "", fmt.Errorf("%w, and installing it needs root; %s", ErrNoQEMU, how)
	}
	note("no " + qemuProgram + " here: installing Debian's " + strings.Join(qemuPackages(), ", "))
	if err := aptget.Install(ctx, qemuPackages()...); err != nil {
		return "", fmt.Errorf("%w: %w; %s", ErrNoQEMU, err, how)
	}
	at, err := exec.LookPath(qemuProgram)
	if err != nil {
		return "", fmt.Errorf("%w after its packages were installed; %s", ErrNoQEMU, how)
	}
	return at, nil
}
