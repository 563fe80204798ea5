// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package cluster

import (
	"bytes"
	"context"
	"fmt"
	"strings"
)

// ExitError is a command that ran and ended with a status other than 0.
type ExitError struct {
	Host   string
	Path   string
	Args   []string
	Code   int
	Stderr string // its end
}

func (e *ExitError) Error() string {
	msg := fmt.Sprintf("run %s on %s: exit status %d", e.Path, e.Host, e.Code)
	if s := strings.TrimSpace(e.Stderr); s != "" {
		msg += ": " + s
	}
	return msg
}

// Output runs a command on h and returns what it printed on stdout.
func Output(ctx context.Context, h Host, path string, args ...string) (string, error) {
	var out bytes.Buffer
	if err := h.Run(ctx, Command{Path: path, Args: args, Stdout: &out}); err != nil {
		return out.String(), err
	}
	return out.String(), nil
}
