// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/cluster/stdio"
	"github.com/lbmatrix/lbmatrix/harness/docker"
)

// stdinGrace is how long a cancelled command may take to end after its stdin was
// closed: an instrument uses it to write its end record.
const stdinGrace = time.Second

// execMark marks, in their environment, the processes of one Run inside a node.
const execMark = "LBMATRIX_EXEC"

// host runs commands in a container.
type host struct {
	docker *docker.Client
	name   string
	// shell says that the container has a shell, grep and kill: a node.
	shell bool
}

// Name is the container's name.
func (h *host) Name() string { return h.name }

// Run implements cluster.Host with docker exec. When ctx ends stdin is closed, then
// docker exec is ended. That alone does not end the process inside: lbprobe, the
// only program in client and observer, ends with its stdin; in a node everything
// that carries this Run's mark is killed.
func (h *host) Run(ctx context.Context, c cluster.Command) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("run %s on %s: %w", c.Path, h.name, context.Cause(ctx))
	}
	id := mark()
	args := []string{"exec", "-e", execMark + "=" + id}
	if c.Stdin != nil {
		args = append(args, "-i")
	}
	args = append(append(args, h.name, c.Path), c.Args...)
	cmd := h.docker.Command(ctx, args...)
	tail := &stdio.Tail{}
	cmd.Stdout, cmd.Stderr = c.Stdout, io.Writer(tail)
	if c.Stderr != nil {
		cmd.Stderr = io.MultiWriter(c.Stderr, tail)
	}
	closeStdin, err := stdio.Feed(cmd, c.Stdin)
	if err != nil {
		return fmt.Errorf("run %s on %s: %w", c.Path, h.name, err)
	}
	defer closeStdin()
	stop := cmd.Cancel
	cmd.Cancel = func() error {
		closeStdin()
		if c.Stdin == nil {
			return stop()
		}
		time.AfterFunc(stdinGrace, func() { _ = stop() }) // it may have ended by then
		return nil
	}
	err = cmd.Run()
	if ctx.Err() != nil {
		h.killMarked(context.WithoutCancel(ctx), id)
		return fmt.Errorf("run %s on %s: %w", c.Path, h.name, context.Cause(ctx))
	}
	return h.result(c, err, tail.String())
}

// result tells a command that ran and failed from one that could not be run.
func (h *host) result(c cluster.Command, err error, stderr string) error {
	if err == nil {
		return nil
	}
	var exit *exec.ExitError
	daemon := strings.HasPrefix(stderr, "Error response from daemon:") || strings.HasPrefix(stderr, "Error: No such container")
	if !errors.As(err, &exit) || !exit.Exited() || daemon {
		return fmt.Errorf("run %s on %s: %w: %s", c.Path, h.name, err, stderr)
	}
	return &cluster.ExitError{Host: h.name, Path: c.Path, Args: c.Args, Code: exit.ExitCode(), Stderr: stderr}
}

// killMarked ends what a cancelled Run left inside a node.
func (h *host) killMarked(ctx context.Context, id string) {
	if !h.shell {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	script := `for e in $(grep -lsazx "` + execMark + "=" + id + `" /proc/[0-9]*/environ); do p=${e#/proc/}; kill -9 "${p%/environ}" 2>/dev/null; done; true`
	// Best effort: the node goes soon, and its processes with it.
	_ = h.docker.Command(ctx, "exec", h.name, "sh", "-c", script).Run()
}

func mark() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
