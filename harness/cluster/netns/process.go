// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// logTail is how much of its log a crash is reported with, in bytes.
const logTail = 1500

// process is a program that runs in a machine until the machine ends.
type process struct {
	name string
	log  string // path
	done chan struct{}
	err  error // how it ended; read after done
}

// start runs argv in a machine, with its output going to a log file that is appended to.
func (m *machine) start(name, log string, env, argv []string) (*process, error) {
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = file.Close() }() // the child has it
	// Not the caller's context: what runs in a cluster outlives the step that started it.
	cmd := m.command(context.Background(), argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append([]string{path()}, env...), file, file
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, log: log, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// path is where components look for iptables, nft and the like.
func path() string { return "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" }

// died says how a process that should still run ended, with the end of its log; nil
// while it runs.
func (p *process) died() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended (%v); the end of %s:\n%s", p.name, ended(p.err), p.log, tailOf(p.log))
	default:
		return nil
	}
}

func ended(err error) string {
	if err == nil {
		return "exit status 0"
	}
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.String()
	}
	return err.Error()
}

func tailOf(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(data[max(0, len(data)-logTail):]))
}
