// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// startTimeout bounds the wait for a started daemon to answer.
const startTimeout = 60 * time.Second

// daemonConfig is the part of dockerd's configuration file the project sets. A file
// of our own keeps the machine's /etc/docker/daemon.json out of it.
type daemonConfig struct {
	Hosts          []string           `json:"hosts"`
	DataRoot       string             `json:"data-root"`
	ExecRoot       string             `json:"exec-root"`
	PIDFile        string             `json:"pidfile"`
	Runtimes       map[string]runtime `json:"runtimes,omitempty"`
	DefaultRuntime string             `json:"default-runtime,omitempty"`
	LogDriver      string             `json:"log-driver"`
	LogOpts        map[string]string  `json:"log-opts"`
}

type runtime struct {
	Path string `json:"path"`
}

func (p places) configure(runtimePath string) ([]byte, error) {
	c := daemonConfig{
		Hosts: []string{p.host()}, DataRoot: p.data, ExecRoot: p.execRoot(), PIDFile: p.pidFile(),
		LogDriver: "json-file", LogOpts: map[string]string{"max-size": "50m", "max-file": "2"},
	}
	if runtimePath != "" {
		c.Runtimes = map[string]runtime{"lbrunc": {Path: runtimePath}}
		c.DefaultRuntime = "lbrunc"
	}
	return json.MarshalIndent(c, "", "  ")
}

// launch starts dockerd in its namespace, detached, and waits until it answers.
// nsenter, not `ip netns exec`: the latter mounts a fresh /sys, which hides the
// cgroup mounts ("Devices cgroup isn't mounted").
func (p places) launch(ctx context.Context, runtimePath string, out io.Writer) error {
	config, err := p.configure(runtimePath)
	if err != nil {
		return fmt.Errorf("start docker: %w", err)
	}
	if err := os.WriteFile(p.config(), config, 0o644); err != nil {
		return fmt.Errorf("start docker: %w", err)
	}
	dockerd, err := lookPath("dockerd")
	if err != nil {
		return fmt.Errorf("start docker: %w", err)
	}
	log, err := os.Create(p.log())
	if err != nil {
		return fmt.Errorf("start docker: %w", err)
	}
	defer log.Close()
	// Not bound to ctx: the daemon outlives this call. nsenter executes dockerd in its
	// own place, so the pid is dockerd's.
	cmd := exec.Command("nsenter", "--net="+p.netnsFile(), "--", dockerd, "--config-file", p.config())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start docker: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	started := process{PID: cmd.Process.Pid}
	if started.Start, err = startTime(started.PID); err == nil {
		var state []byte
		if state, err = json.Marshal(started); err == nil {
			err = os.WriteFile(p.stateFile(), state, 0o644)
		}
	}
	if err == nil {
		err = p.await(ctx, startTimeout, ended)
	}
	if err != nil {
		// A daemon that came up half must not be left to the next start.
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return errors.Join(fmt.Errorf("start docker: %w\n%s", err, logEnd(p.log())), started.end(cleanup, 10*time.Second))
	}
	fmt.Fprintf(out, "docker runs: pid %d, log %s\nexport DOCKER_HOST=%s\n", started.PID, p.log(), p.host())
	return nil
}

// await polls until the daemon answers, its process ends or the time is over.
func (p places) await(ctx context.Context, limit time.Duration, ended <-chan error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit))
	defer cancel()
	c := &Client{Host: p.host()}
	for {
		if _, err := c.Info(ctx); err == nil {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("dockerd ended: %w", errors.Join(err, errors.New("it should keep running")))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// logEnd is the last part of a log, for an error message.
func logEnd(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	if len(lines) > 15 {
		lines = lines[len(lines)-15:]
	}
	return path + ":\n" + string(bytes.Join(lines, []byte("\n")))
}
