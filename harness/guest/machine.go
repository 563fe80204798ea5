// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package guest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/guest/job"
)

// machine is a qemu command line in the making.
type machine struct {
	guest       artifact.Guest
	accelerator string // job.AcceleratorKVM or job.AcceleratorTCG
	cpus        int
	memory      int64 // bytes
	append      string
	console     string // file the first serial line is written to; "" is standard output
	disks       []disk // in the order the guest sees them: vda, vdb, ...
}

// disk is a file the guest sees as a disk.
type disk struct {
	file     string
	pristine bool // what is written is forgotten
	readOnly bool
}

// What makes an emulated machine fast. A host thread a CPU. No AVX, which is emulated several
// times slower than what Go's runtime takes instead (bytes.IndexByte four times). The time from the time-stamp counter,
// which qemu keeps steady on all CPUs: without being told, Linux reads the HPET, ten times
// slower and a lock of qemu's each time. And programs at the same addresses each time: what
// qemu has translated of a program counts for its addresses only, and a cluster starts
// iptables, ipset, shells and curl thousands of times. That alone was a third of a run.
const (
	emulatedAccel  = ",thread=multi"
	emulatedCPU    = ",-avx,-avx2"
	emulatedKernel = "tsc=reliable clocksource=tsc norandmaps "
)

// args are qemu's. Nothing is there by default: no network card (so no way out), no
// display, no monitor. panic=-1 and -no-reboot make a crash the end of the machine. See
// qemu(1) and the kernel's Documentation/admin-guide/kernel-parameters.txt.
func (m machine) args() []string {
	accel, cpu, kernel := m.accelerator, "max", "console=ttyS0 quiet panic=-1 mitigations=off "
	if accel == job.AcceleratorTCG {
		accel, cpu, kernel = accel+emulatedAccel, cpu+emulatedCPU, kernel+emulatedKernel
	}
	args := []string{
		"-accel", accel, "-machine", "q35", "-cpu", cpu, "-smp", strconv.Itoa(m.cpus), "-m", fmt.Sprintf("%dM", m.memory>>20),
		"-nodefaults", "-no-user-config", "-nic", "none", "-display", "none", "-no-reboot",
		"-kernel", m.guest.Kernel, "-initrd", m.guest.Initrd,
		"-append", strings.TrimSpace(kernel + m.append),
	}
	if m.console == "" {
		args = append(args, "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console")
	} else {
		args = append(args,
			"-chardev", "file,id=console,path="+comma(m.console), "-serial", "chardev:console",
			"-chardev", "stdio,id=events,signal=off", "-serial", "chardev:events")
	}
	for i, d := range m.disks {
		drive := fmt.Sprintf("file=%s,if=none,id=disk%d,format=raw", comma(d.file), i)
		if d.pristine {
			drive += ",snapshot=on"
		}
		if d.readOnly {
			drive += ",readonly=on"
		}
		args = append(args, "-drive", drive, "-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d", i))
	}
	return args
}

// comma writes a value as qemu's options take it: a comma is doubled.
func comma(s string) string { return strings.ReplaceAll(s, ",", ",,") }
