// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
	"github.com/lbmatrix/lbmatrix/harness/guest/job"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
)

// run starts qemu and returns when it has ended, killed where that had to be.
func (o Options) run(ctx context.Context, m machine) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.Command(o.QEMU, m.args()...)
	// Killed with this process, even by SIGKILL; the ledger is for when that does not work.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), "TMPDIR="+o.Scratch) // what is written to a pristine disk
	complaints := &proc.Tail{}
	cmd.Stderr = complaints
	line, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start guest: %w", err)
	}
	started, ended := make(chan error), make(chan error, 1)
	c := newClock(o.BootLimit, cancel)
	defer c.stop()
	go func() {
		// Pdeathsig fires when the thread that forked ends: it stays until the child has.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- errors.Join(o.listen(line, c), cmd.Wait())
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start guest: %w", err)
	}
	forget, err := o.record(cmd.Process.Pid)
	if err != nil {
		cancel(err)
	}
	select {
	case err = <-ended:
	case <-ctx.Done():
		_ = cmd.Process.Kill() // it may have ended by itself
		<-ended
		err = nil
	}
	return errors.Join(o.outcome(context.Cause(ctx), err, c, complaints), forget())
}

// record writes the machine's process into the ledger, and says how to take it out.
func (o Options) record(pid int) (forget func() error, err error) {
	nothing := func() error { return nil }
	entry, err := ledger.ProcessEntry("qemu of a guest", pid)
	if errors.Is(err, os.ErrProcessDone) {
		return nothing, nil // it has ended already: its end says why
	}
	if err == nil {
		err = o.Ledger.Add(entry)
	}
	if err != nil {
		return nothing, err
	}
	return func() error { return o.Ledger.Done(entry) }, nil
}

// listen hands events on until the guest's line ends.
func (o Options) listen(line io.Reader, c *clock) error {
	return job.ReadEvents(line, func(e job.Event) {
		c.event(e)
		if o.Events != nil {
			o.Events(e)
		}
	}, func([]byte) {})
}

// outcome says how a machine ended: cause is why it was killed, err how qemu ended.
func (o Options) outcome(cause, err error, c *clock, complaints fmt.Stringer) error {
	var hung *HungError
	switch {
	case errors.As(cause, &hung):
		if c.packed() {
			return nil // all that was wanted is on the disk; it could not switch itself off
		}
		hung.Said = o.said()
		return hung
	case cause != nil:
		return fmt.Errorf("run guest: %w", cause)
	case err != nil:
		return fmt.Errorf("run guest: qemu: %w: %s", err, complaints)
	}
	return nil
}

// saidLines is how much of a console an error carries.
const saidLines = 5

// said is the end of the console's log.
func (o Options) said() string {
	text, err := os.ReadFile(filepath.Join(o.Dir, SerialLog))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "(" + err.Error() + ")"
	}
	lines := strings.Split(string(bytes.TrimSpace(bytes.ToValidUTF8(text, []byte("?")))), "\n")
	lines = lines[max(0, len(lines)-saidLines):]
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
	}
	if said := strings.Join(lines, " | "); said != "" {
		return said
	}
	return "(nothing)"
}
