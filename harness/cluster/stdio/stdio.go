// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package stdio connects the commands that hosts run to what their callers give.
package stdio

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Feed connects stdin by a pipe of our own. With exec's, Wait would wait for a
// reader that never ends even though the command has. The function that is returned
// closes it, and may be called twice.
func Feed(cmd *exec.Cmd, in io.Reader) (func(), error) {
	if in == nil {
		return func() {}, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make stdin: %w", err)
	}
	cmd.Stdin = r
	go func() {
		_, _ = io.Copy(w, in) // a command that ended first breaks the pipe
		_ = w.Close()         // twice is fine
	}()
	return func() { _ = w.Close(); _ = r.Close() }, nil
}

// Tail keeps the end of what a command wrote.
type Tail struct{ b []byte }

const tailSize = 2048

func (t *Tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*tailSize {
		t.b = append(t.b[:0], t.b[len(t.b)-tailSize:]...)
	}
	return len(p), nil
}

func (t *Tail) String() string {
	return strings.TrimSpace(string(t.b[max(0, len(t.b)-tailSize):]))
}
