// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package gobuild builds static programs with the go command, from this
// module's own source or from a pinned one.
package gobuild

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
)

// Spec is one run of go build.
type Spec struct {
	Dir      string   // module directory
	Packages []string // import paths of main packages
	Out      string   // a file, or with a trailing slash a folder
	LDFlags  string   // added to -s -w
	Tags     string
	Env      []string  // added to the process's environment
	Log      io.Writer // receives what the go command says; may be nil
}

// Build builds static, stripped, reproducible programs: no cgo, no paths of this
// machine, no build id that depends on either.
func Build(ctx context.Context, s Spec) error {
	args := []string{
		"build", "-C", s.Dir, "-trimpath", "-buildvcs=false",
		"-ldflags", strings.TrimSpace("-s -w -buildid= " + s.LDFlags), "-o", s.Out,
	}
	if s.Tags != "" {
		args = append(args, "-tags", s.Tags)
	}
	cmd := proc.Command(ctx, "go", append(args, s.Packages...)...)
	cmd.Env = append(Environ(), s.Env...)
	if s.Log != nil {
		cmd.Stderr = s.Log
	}
	if _, err := proc.Run(ctx, cmd); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	return nil
}

// Environ is the process's environment, made deterministic for go build: settings
// of the caller's project (a workspace, extra flags) must not change an artifact.
func Environ() []string {
	env := make([]string, 0, len(os.Environ())+3)
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "GOFLAGS", "GOWORK", "CGO_ENABLED", "GOOS", "GOARCH":
		default:
			env = append(env, kv)
		}
	}
	return append(env, "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0")
}

// Version is what `go env GOVERSION` says: it belongs to every build's key.
func Version(ctx context.Context) (string, error) {
	cmd := proc.Command(ctx, "go", "env", "GOVERSION")
	cmd.Env = Environ()
	out, err := proc.Run(ctx, cmd)
	if err != nil {
		return "", fmt.Errorf("read go version: %w", err)
	}
	return out, nil
}
