// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package gobuild

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
)

// Module is the path of this project's module.
const Module = "github.com/lbmatrix/lbmatrix"

// SourceDir finds the source of this module, in this order: the checkout around
// the working directory; the module the project around the working directory
// requires; the version this program was built from, downloaded.
func SourceDir(ctx context.Context) (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find module source: %w", err)
	}
	if dir, ok := checkout(wd); ok {
		return dir, nil
	}
	if dir, err := required(ctx); err == nil {
		return dir, nil
	}
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("find module source: %w", err)
	}
	version := buildVersion()
	if version == "" {
		return "", errors.New("find module source: not inside a checkout of " + Module +
			", not in a project that requires it, and this program carries no version; run it in a checkout")
	}
	dir, err := ModuleDir(ctx, Module, version)
	if err != nil {
		return "", fmt.Errorf("find module source: %w", err)
	}
	return dir, nil
}

// ModuleDir is the folder of a module in the module cache, downloaded when it is
// not there yet.
func ModuleDir(ctx context.Context, module, version string) (string, error) {
	cmd := proc.Command(ctx, "go", "mod", "download", "-json", module+"@"+version)
	// Outside any project: the versions of the caller's go.mod must not matter.
	cmd.Dir = os.TempDir()
	cmd.Env = append(Environ(), "GO111MODULE=on")
	out, err := proc.Run(ctx, cmd)
	var answer struct{ Dir, Error string }
	if jsonErr := json.Unmarshal([]byte(out), &answer); err == nil && jsonErr != nil {
		err = jsonErr
	}
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	if err != nil {
		return "", fmt.Errorf("download module %s@%s: %w", module, version, err)
	}
	return answer.Dir, nil
}

// checkout walks up from dir to a go.mod that names this module.
func checkout(dir string) (string, bool) {
	for {
		if name, err := moduleName(filepath.Join(dir, "go.mod")); err == nil {
			return dir, name == Module
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}

func moduleName(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "module "); ok {
			return strings.Trim(strings.TrimSpace(name), `"`), nil
		}
	}
	return "", errors.New("no module line in " + file)
}

// required asks the project around the working directory, whose go.mod or
// workspace may replace this module by a folder.
func required(ctx context.Context) (string, error) {
	out, err := proc.Run(ctx, proc.Command(ctx, "go", "list", "-m", "-f", "{{.Dir}}", Module))
	if err != nil {
		return "", err
	}
	if out == "" {
		return "", errors.New("module has no folder")
	}
	return out, nil
}

func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	version := ""
	if info.Main.Path == Module {
		version = info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == Module {
			version = dep.Version
		}
	}
	if version == "(devel)" {
		return ""
	}
	return version
}
