// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Info is what the harness needs to know of a daemon, as `docker info` says it.
type Info struct {
	ServerVersion   string
	KernelVersion   string
	OperatingSystem string
	Driver          string // storage driver, e.g. overlay2
	DockerRootDir   string // where it keeps images and containers
	CgroupDriver    string // cgroupfs or systemd
	CgroupVersion   string // "1" or "2"
	DefaultRuntime  string
	NCPU            int
	MemTotal        int64 // bytes
}

// Info asks the daemon.
func (c *Client) Info(ctx context.Context) (Info, error) {
	out, err := c.Output(ctx, "info", "--format", "{{json .}}")
	if err != nil {
		return Info{}, err
	}
	var info Info
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		return Info{}, fmt.Errorf("read docker info: %w", err)
	}
	return info, nil
}

// HasImage says whether the daemon holds an image.
func (c *Client) HasImage(ctx context.Context, ref string) (bool, error) {
	out, err := c.Output(ctx, "image", "ls", "--quiet", "--no-trunc", ref)
	return out != "", err
}

// NetNS is the path of the daemon's network namespace, or "" when the daemon
// shares this process's: what it publishes on its loopback is then reachable as it
// is. A daemon that is not behind a unix socket counts as shared.
func (c *Client) NetNS(ctx context.Context) (string, error) {
	path := c.socket()
	if path == "" {
		return "", nil
	}
	pid, err := peer(ctx, path)
	if err != nil {
		return "", fmt.Errorf("find docker's network namespace: %w", err)
	}
	if pid == 0 {
		// The daemon is outside our pid namespace: there is no way in, and nothing to say.
		return "", nil
	}
	ns := fmt.Sprintf("/proc/%d/ns/net", pid)
	same, err := sameFile(ns, "/proc/self/ns/net")
	if err != nil {
		return "", fmt.Errorf("find docker's network namespace: %w", err)
	}
	if same {
		return "", nil
	}
	return ns, nil
}

// peer is the pid of the process that listens on a unix socket.
func peer(ctx context.Context, path string) (int32, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, fmt.Errorf("read peer of %s: %w", path, credErr)
	}
	return cred.Pid, nil
}

func sameFile(a, b string) (bool, error) {
	x, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	y, err := os.Stat(b)
	if err != nil {
		return false, err
	}
	return os.SameFile(x, y), nil
}
