// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package guest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/guest/job"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
)

// A guest has no network card, no display and no device that was not asked for; its system
// stays as it is, and commas in paths are no separators.
func TestArgs(t *testing.T) {
	m := machine{
		guest: artifact.Guest{Kernel: "/k", Initrd: "/i"}, accelerator: job.AcceleratorTCG, cpus: 2, memory: 1536 << 20,
		console: "/run,1/serial.log", disks: []disk{{file: "/root.ext4", pristine: true}, {file: "/results,2.img"}, {file: "/cargo", readOnly: true}},
	}
	require.Equal(t, []string{
		"-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max,-avx,-avx2", "-smp", "2", "-m", "1536M",
		"-nodefaults", "-no-user-config", "-nic", "none", "-display", "none", "-no-reboot",
		"-kernel", "/k", "-initrd", "/i", "-append", "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable clocksource=tsc norandmaps",
		"-chardev", "file,id=console,path=/run,,1/serial.log", "-serial", "chardev:console",
		"-chardev", "stdio,id=events,signal=off", "-serial", "chardev:events",
		"-drive", "file=/root.ext4,if=none,id=disk0,format=raw,snapshot=on", "-device", "virtio-blk-pci,drive=disk0",
		"-drive", "file=/results,,2.img,if=none,id=disk1,format=raw", "-device", "virtio-blk-pci,drive=disk1",
		"-drive", "file=/cargo,if=none,id=disk2,format=raw,readonly=on", "-device", "virtio-blk-pci,drive=disk2",
	}, m.args())
	probe := machine{accelerator: job.AcceleratorKVM, append: probeArgument}.args()
	require.Contains(t, probe, "kvm")
	require.Contains(t, probe, "console=ttyS0 quiet panic=-1 mitigations=off lbmatrix.probe")
}

// fake is a guest whose qemu is a shell script. In it $results is the disk for results,
// $console the console's log, $archive a finished job's archive.
func fake(t *testing.T, script string) Options {
	t.Helper()
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("no mkfs.ext4")
	}
	dir := t.TempDir()
	for _, d := range []string{"cargo", "run", "results", "packed/run-1"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "packed/run-1/run.json"), []byte("{}"), 0o644))
	archive, err := os.Create(filepath.Join(dir, "archive"))
	require.NoError(t, err)
	require.NoError(t, job.Pack(archive, filepath.Join(dir, "packed"), job.Report{Code: 4, Kernel: "6.1.0-test"}))
	require.NoError(t, archive.Close())
	qemu := filepath.Join(dir, "qemu")
	require.NoError(t, os.WriteFile(qemu, []byte(fmt.Sprintf(
		"#!/bin/sh\nresults=%s/scratch/results.img console=%s/run/%s archive=%s\n%s\n", dir, dir, SerialLog, archive.Name(), script)), 0o755))
	l, err := ledger.Open(filepath.Join(dir, "ledger"), "test")
	require.NoError(t, err)
	t.Cleanup(func() {
		require.Empty(t, l.Entries(), "nothing is left in the ledger")
		require.NoError(t, l.Close(false))
		require.NoDirExists(t, filepath.Join(dir, "scratch"))
	})
	return Options{
		QEMU: qemu, CPUs: 1, Memory: 1 << 30, Cargo: filepath.Join(dir, "cargo"), Dir: filepath.Join(dir, "run"),
		Results: filepath.Join(dir, "results"), Scratch: filepath.Join(dir, "scratch"), Ledger: l,
	}
}

func TestRunBringsResultsBack(t *testing.T) {
	o := fake(t, `
echo '{"type":"ready","slowdown":12,"limitNS":60000000000}'
echo 'some noise'
dd if="$archive" of="$results" conv=notrunc 2>/dev/null
echo '{"type":"exit","code":4}'
echo '{"type":"packed"}'`)
	var seen []job.EventType
	o.Events = func(e job.Event) { seen = append(seen, e.Type) }
	r, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, 4, r.Code, "the command's exit code: qemu's says nothing")
	require.Equal(t, []job.EventType{job.Ready, job.Exit, job.Packed}, seen)
	require.FileExists(t, filepath.Join(o.Results, "run-1", "run.json"))
	require.FileExists(t, filepath.Join(o.Dir, ReportFile))
}

// Each way in which a guest can fail has a message of its own, and none leaves a process,
// a file or an entry behind.
func TestRunFails(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		boot   time.Duration
		hung   bool
		want   []string
	}{
		"does not come up": {
			`exec sleep 60`, 50 * time.Millisecond, true,
			[]string{"the guest did not come up: killed after ", "its console ends with: Booting"},
		},
		// A negative limit takes the grace back that comes on top of it.
		"does not end": {
			`echo '{"type":"ready","slowdown":1,"limitNS":-9900000000}'; exec sleep 60`, time.Minute, true,
			[]string{"the guest did not end (it is 1 times slower than this machine): killed after "},
		},
		"ends without a result": {
			`printf 'one\ntwo\r\nKernel panic - not syncing\n' >"$console"`, time.Minute, false,
			[]string{"the guest left no exit code", "one | two | Kernel panic - not syncing"},
		},
		"cannot start": {
			`echo 'qemu: no such machine' >&2; exit 1`, time.Minute, false,
			[]string{"run guest: qemu: exit status 1: qemu: no such machine"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := fake(t, c.script)
			o.BootLimit = c.boot
			require.NoError(t, os.WriteFile(filepath.Join(o.Dir, SerialLog), []byte("Booting\n"), 0o644))
			_, err := Run(t.Context(), o)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			var hung *HungError
			if c.hung {
				require.ErrorAs(t, err, &hung)
			}
		})
	}
}

// What was packed counts, even if the machine then does not switch itself off.
func TestRunOfAGuestThatStaysOn(t *testing.T) {
	o := fake(t, `
dd if="$archive" of="$results" conv=notrunc 2>/dev/null
echo '{"type":"packed"}'
exec sleep 60`)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	// The clock would do this some time later.
	o.Events = func(e job.Event) {
		if e.Type == job.Packed {
			cancel(&HungError{What: "did not switch itself off"})
		}
	}
	r, err := Run(ctx, o)
	require.NoError(t, err)
	require.Equal(t, 4, r.Code)
}

func TestRunIsCancelled(t *testing.T) {
	o := fake(t, `echo $$ >"$console"; exec sleep 60`)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil {
			if text, err := os.ReadFile(filepath.Join(o.Dir, SerialLog)); err == nil && len(text) > 0 {
				cancel()
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	_, err := Run(ctx, o)
	require.ErrorIs(t, err, context.Canceled)
	pid, err := os.ReadFile(filepath.Join(o.Dir, SerialLog))
	require.NoError(t, err)
	require.NoDirExists(t, filepath.Join("/proc", strings.TrimSpace(string(pid))))
}

// Without qemu, and without a way to install it, the message says how to get it.
func TestNoQEMU(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := FindQEMU(t.Context(), func(string) { t.Error("nothing is installed here") })
	require.ErrorIs(t, err, ErrNoQEMU)
	require.ErrorContains(t, err, "sudo apt-get install qemu-system-x86")
}
