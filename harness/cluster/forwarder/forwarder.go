// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package forwarder leads from a loopback address of this process's network namespace
// to an address inside another: the way to an API server that is not on this host's
// own network, for whatever reads a kubeconfig.
package forwarder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/ledger"
)

// Forwarder is a child process inside another network namespace that serves a listener
// opened in ours.
type Forwarder struct {
	address string
	entry   ledger.Entry
	ledger  *ledger.Ledger
	stdin   io.Closer
	done    chan struct{}
	err     error // how it ended; read after done
}

// Start starts one. inside is the command that accepts on descriptor 3; it ends with
// its stdin, hence with this process however that ends.
func Start(l *ledger.Ledger, log io.Writer, inside []string) (*Forwarder, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start forwarder: %w", err)
	}
	defer func() { _ = listener.Close() }() // the child holds a copy
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return nil, fmt.Errorf("start forwarder: %w", err)
	}
	defer func() { _ = file.Close() }()

	cmd := exec.Command(inside[0], inside[1:]...) //nolint:gosec // our own arguments
	cmd.ExtraFiles = []*os.File{file}
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: Ctrl-C on the terminal must not cut the way that cleanup uses.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start forwarder: %w", err)
	}
	f := &Forwarder{address: listener.Addr().String(), ledger: l, stdin: stdin, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// Pdeathsig fires when the thread that forked ends: this one stays until the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(f.done)
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		f.err = cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start forwarder: %w", err)
	}
	f.entry, err = ledger.ProcessEntry("forwarder "+f.address, cmd.Process.Pid)
	if err == nil {
		err = l.Add(f.entry)
	}
	if err != nil {
		_ = stdin.Close() // it ends
		return nil, fmt.Errorf("start forwarder: %w", err)
	}
	return f, nil
}

// Address is 127.0.0.1:port, in this process's namespace.
func (f *Forwarder) Address() string { return f.address }

// InNamespace is the forwarder's command line: only the child enters the namespace.
func InNamespace(netns, probe, target string) []string {
	return []string{"nsenter", "--net=" + netns, probe, "forward", "--listen-fd", strconv.Itoa(3), "--to", target}
}

// Stop ends the forwarder and waits for it. A nil forwarder was never started.
func (f *Forwarder) Stop(ctx context.Context) error {
	if f == nil {
		return nil
	}
	_ = f.stdin.Close() // it may have ended
	select {
	case <-f.done:
	case <-time.After(3 * time.Second):
		if err := syscall.Kill(f.entry.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop forwarder: %w", err)
		}
		<-f.done
	case <-ctx.Done():
		return fmt.Errorf("stop forwarder: %w", context.Cause(ctx))
	}
	return f.ledger.Done(f.entry)
}
