// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package guest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
	"github.com/lbmatrix/lbmatrix/harness/guest/job"
)

// probeMark is what a guest's initramfs prints, and probeArgument what makes it print that
// and switch the machine off.
const (
	probeMark     = "lbmatrix-guest-runs"
	probeArgument = "lbmatrix.probe"
)

// probeLimit bounds the trial of KVM. A machine that it works on is there in a second or
// two, an emulated one in five or six: one that takes longer is no faster than emulation.
const probeLimit = 5 * time.Second

// kvmDevice is the file of the kernel's virtual machines.
const kvmDevice = "/dev/kvm"

// Accelerator finds out what can run a guest: kvm where a machine was seen to come up on
// it, else tcg, with the reason. That /dev/kvm is there and opens proves little: inside
// virtual machines it may take no such guest, or run it slower than emulation does.
func Accelerator(ctx context.Context, qemu string, g artifact.Guest) (name, why string) {
	f, err := os.OpenFile(kvmDevice, os.O_RDWR, 0)
	if err != nil {
		return job.AcceleratorTCG, fmt.Sprintf("kvm is not usable: %v", err)
	}
	_ = f.Close() // nothing was written
	return tryKVM(ctx, qemu, g)
}

func tryKVM(ctx context.Context, qemu string, g artifact.Guest) (name, why string) {
	limited, cancel := context.WithTimeoutCause(ctx, probeLimit, fmt.Errorf("no sign of life in %s", probeLimit))
	defer cancel()
	m := machine{guest: g, accelerator: job.AcceleratorKVM, cpus: 1, memory: 256 << 20, append: probeArgument}
	var out bytes.Buffer
	cmd := proc.Command(limited, qemu, m.args()...)
	cmd.Stdout = &out
	began := time.Now()
	_, err := proc.Run(limited, cmd)
	switch {
	case bytes.Contains(out.Bytes(), []byte(probeMark)):
		return job.AcceleratorKVM, fmt.Sprintf("kvm: a machine was up in %s", time.Since(began).Round(100*time.Millisecond))
	case err != nil:
		lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
		return job.AcceleratorTCG, "kvm is there and does not work: " + lines[len(lines)-1]
	}
	return job.AcceleratorTCG, "kvm is there and does not work: the machine ended without a sign of life"
}
