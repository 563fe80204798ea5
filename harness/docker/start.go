// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/artifact/filelock"
	"github.com/lbmatrix/lbmatrix/harness/artifact/gobuild"
)

// Options are what Start and Stop need.
type Options struct {
	Out   io.Writer // progress, one line a step; nil for silence
	Purge bool      // Stop: remove images and containers as well
}

// Start makes sure that a daemon answers: nothing is done where one does already.
// Otherwise it installs docker (Debian's package) when it is missing and starts a
// daemon of the project's own, in a network namespace that has no way out. The
// daemon outlives the caller; Stop ends it.
func Start(ctx context.Context, o Options) error {
	if o.Out == nil {
		o.Out = io.Discard
	}
	p := defaultPlaces()
	if c, err := find(ctx, foreignHost(p), []string{systemHost, p.host()}); err == nil {
		fmt.Fprintf(o.Out, "docker already answers at %s\n", c.Host)
		return nil
	} else if foreignHost(p) != "" {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("start docker: no daemon answers and starting one needs root; run as root, or set DOCKER_HOST")
	}
	unlock, err := filelock.Acquire(ctx, p.lockFile(), func() { fmt.Fprintln(o.Out, "waiting for another start or stop of docker") })
	if err != nil {
		return fmt.Errorf("start docker: %w", err)
	}
	defer unlock()
	return p.start(ctx, o.Out)
}

// foreignHost is $DOCKER_HOST unless it names our own daemon.
func foreignHost(p places) string {
	if host := os.Getenv("DOCKER_HOST"); host != p.host() {
		return host
	}
	return ""
}

// start runs under the lock.
func (p places) start(ctx context.Context, out io.Writer) error {
	// Another start may have finished while this one waited for the lock.
	if c, err := find(ctx, "", []string{systemHost, p.host()}); err == nil {
		fmt.Fprintf(out, "docker answers at %s\n", c.Host)
		return nil
	}
	missing := missingPackages(lookPath)
	fmt.Fprintf(out, "no docker daemon answers: starting one at %s (network namespace %s, images in %s)\n", p.host(), p.netns, p.data)
	if len(missing) > 0 {
		if err := install(ctx, missing, out); err != nil {
			return err
		}
		if c, ok := awaitPackaged(ctx); ok {
			fmt.Fprintf(out, "the package has started a daemon of its own: using %s\n", c.Host)
			return nil
		}
	}
	if old, ok := p.daemon(); ok {
		// It runs but does not answer. It may be on its way up.
		fmt.Fprintf(out, "a daemon of ours (pid %d) runs and does not answer yet\n", old.PID)
		if p.await(ctx, 20*time.Second, nil) == nil {
			return nil
		}
		fmt.Fprintf(out, "ending the daemon that does not answer (pid %d)\n", old.PID)
		if err := old.end(ctx, 20*time.Second); err != nil {
			return fmt.Errorf("start docker: %w", err)
		}
	}
	if err := p.tidy(ctx); err != nil {
		return fmt.Errorf("start docker: %w", err)
	}
	for _, dir := range []string{p.run, p.execRoot(), p.data} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("start docker: %w", err)
		}
	}
	raiseInotify(out)
	runtime, err := p.installRuntime(ctx, out)
	if err != nil {
		return fmt.Errorf("start docker: %w", err)
	}
	if err := p.ensureNetNS(ctx); err != nil {
		return fmt.Errorf("start docker: %w", err)
	}
	return p.launch(ctx, runtime, out)
}

// awaitPackaged gives a daemon that the package's service starts a moment to answer.
func awaitPackaged(ctx context.Context) (*Client, bool) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil, false
	}
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; {
		if c, err := find(ctx, "", []string{systemHost}); err == nil {
			return c, true
		}
		time.Sleep(500 * time.Millisecond)
	}
	return nil, false
}

// installRuntime builds the runc wrapper where this machine needs it and returns
// its path, or "" where plain runc works.
func (p places) installRuntime(ctx context.Context, out io.Writer) (string, error) {
	limited, err := lacksSysResource("/proc/self/status")
	if err != nil || !limited {
		return "", err
	}
	fmt.Fprintln(out, "CAP_SYS_RESOURCE is missing: containers run through lbrunc")
	source, err := gobuild.SourceDir(ctx)
	if err != nil {
		return "", fmt.Errorf("build lbrunc: %w", err)
	}
	tmp := p.runtime() + ".new"
	if err := gobuild.Build(ctx, gobuild.Spec{Dir: source, Packages: []string{"./cmd/lbrunc"}, Out: tmp}); err != nil {
		return "", fmt.Errorf("build lbrunc: %w", err)
	}
	// Renamed, not written over: a container's shim may be running the old one.
	if err := os.Rename(tmp, filepath.Clean(p.runtime())); err != nil {
		return "", fmt.Errorf("install lbrunc: %w", err)
	}
	return p.runtime(), nil
}
