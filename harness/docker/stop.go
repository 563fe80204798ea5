// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/artifact/filelock"
)

// stopTimeout is how long dockerd may take to end its containers before it is killed.
const stopTimeout = 40 * time.Second

// Stop ends the daemon that Start has started, and only that one, and removes its
// sockets and its network namespace. Images stay unless Options.Purge is set.
func Stop(ctx context.Context, o Options) error {
	if o.Out == nil {
		o.Out = io.Discard
	}
	if os.Geteuid() != 0 {
		return errors.New("stop docker: needs root")
	}
	p := defaultPlaces()
	unlock, err := filelock.Acquire(ctx, p.lockFile(), func() { fmt.Fprintln(o.Out, "waiting for another start or stop of docker") })
	if err != nil {
		return fmt.Errorf("stop docker: %w", err)
	}
	defer unlock()
	return p.stop(ctx, o)
}

// stop runs under the lock.
func (p places) stop(ctx context.Context, o Options) error {
	if _, ok := p.daemon(); !ok && p.orphaned() {
		// A start ends them, and the daemon puts their networks and mounts in order.
		fmt.Fprintln(o.Out, "containers of a killed daemon still run: starting it again to end them")
		if err := p.start(ctx, o.Out); err != nil {
			return fmt.Errorf("stop docker: %w", err)
		}
	}
	if d, ok := p.daemon(); ok {
		fmt.Fprintf(o.Out, "stopping docker (pid %d)\n", d.PID)
		if err := d.end(ctx, stopTimeout); err != nil {
			return fmt.Errorf("stop docker: %w", err)
		}
	} else {
		fmt.Fprintln(o.Out, "no docker daemon of lbmatrix runs")
	}
	if err := p.tidy(ctx); err != nil {
		return fmt.Errorf("stop docker: %w", err)
	}
	// dockerd binds its data root onto itself; a killed one leaves that behind.
	if err := unmountUnder(p.data); err != nil {
		return fmt.Errorf("stop docker: %w", err)
	}
	if err := p.removeNetNS(ctx); err != nil {
		return fmt.Errorf("stop docker: %w", err)
	}
	if !o.Purge {
		return nil
	}
	fmt.Fprintf(o.Out, "removing %s\n", p.data)
	return p.purge()
}
