// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package docker talks to a Docker daemon through its command line, and runs a
// daemon of the project's own where a machine has none.
package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
)

const (
	// systemHost is where a daemon installed the usual way listens.
	systemHost = "unix:///var/run/docker.sock"
	// pingTimeout bounds the question whether a daemon answers.
	pingTimeout = 10 * time.Second
)

// Client runs the docker command line against one daemon.
type Client struct {
	Host string // a DOCKER_HOST value, e.g. unix:///run/lbmatrix/docker.sock
}

// ErrNoDaemon is wrapped by Find's error where no daemon answers.
var ErrNoDaemon = errors.New("no docker daemon answers")

// Find is the daemon to use: the one $DOCKER_HOST names, else the machine's own,
// else the one Start has started.
func Find(ctx context.Context) (*Client, error) {
	return find(ctx, os.Getenv("DOCKER_HOST"), []string{systemHost, defaultPlaces().host()})
}

func find(ctx context.Context, named string, known []string) (*Client, error) {
	if named != "" {
		c := &Client{Host: named}
		if err := c.Ping(ctx); err != nil {
			return nil, fmt.Errorf("%w at DOCKER_HOST=%s: %w; unset it, or run `make docker`", ErrNoDaemon, named, err)
		}
		return c, nil
	}
	var tried []string
	for _, host := range known {
		c := &Client{Host: host}
		// A missing socket needs no docker command to find out.
		if _, err := os.Stat(c.socket()); err != nil {
			tried = append(tried, host)
			continue
		}
		err := c.Ping(ctx)
		if err == nil {
			return c, nil
		}
		tried = append(tried, fmt.Sprintf("%s: %v", host, err)) // no permission, or nobody listens
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("find docker daemon: %w", context.Cause(ctx))
	}
	return nil, fmt.Errorf("%w (tried %s); run `make docker` to start one", ErrNoDaemon, strings.Join(tried, "; "))
}

// Ping says whether the daemon answers.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if path := c.socket(); path != "" {
		// Cheaper than the docker command, and it works before docker is installed.
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err != nil {
			return fmt.Errorf("ping docker: %w", err)
		}
		_ = conn.Close()
	}
	_, err := c.Output(ctx, "version", "--format", "{{.Server.Version}}")
	return err
}

// Env is the environment for a child process that uses this daemon. Settings that
// would send the docker command elsewhere are left out.
func (c *Client) Env() []string {
	env := make([]string, 0, len(os.Environ())+1)
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "DOCKER_HOST", "DOCKER_CONTEXT":
		default:
			env = append(env, kv)
		}
	}
	return append(env, "DOCKER_HOST="+c.Host)
}

// Command is a docker command against this daemon; it ends with ctx.
func (c *Client) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := proc.Command(ctx, "docker", args...)
	cmd.Env = c.Env()
	return cmd
}

// Output runs a docker command and returns its trimmed standard output. The error
// carries the command and what it wrote to standard error.
func (c *Client) Output(ctx context.Context, args ...string) (string, error) {
	return proc.Run(ctx, c.Command(ctx, args...))
}

// socket is the path of a unix socket, or "" for a daemon reached otherwise.
func (c *Client) socket() string {
	path, ok := strings.CutPrefix(c.Host, "unix://")
	if !ok {
		return ""
	}
	return path
}
