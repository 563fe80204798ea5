// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"path/filepath"
	"strings"
)

// target is the file a runc command reads its process from.
type target struct {
	file   string
	nested bool // the process is the "process" field of a bundle's config.json
}

// findTarget reads a runc command line (without the program): `create` and `run`
// take the process from config.json in --bundle (the working directory by
// default), `exec` from the file given to --process. Other commands, and an exec
// whose process comes from its arguments, have no target.
func findTarget(args []string) target {
	name, rest := subcommand(args)
	switch name {
	case "create", "run":
		bundle, ok := flag(rest, "bundle", "b")
		if !ok {
			bundle = "."
		}
		return target{file: filepath.Join(bundle, "config.json"), nested: true}
	case "exec":
		file, _ := flag(rest, "process", "p")
		return target{file: file}
	}
	return target{}
}

// subcommand skips runc's global flags; these take a value of their own.
func subcommand(args []string) (string, []string) {
	for i := 0; i < len(args); i++ {
		if !strings.HasPrefix(args[i], "-") {
			return args[i], args[i+1:]
		}
		switch strings.TrimLeft(args[i], "-") {
		case "root", "log", "log-format", "criu", "rootless":
			i++
		}
	}
	return "", nil
}

// flag is the value of a flag in one of its forms: --long v, --long=v, -s v, -s=v.
func flag(args []string, long, short string) (string, bool) {
	for i, arg := range args {
		if arg == "--" {
			break
		}
		name, value, inline := strings.Cut(arg, "=")
		if name != "--"+long && name != "-"+long && name != "-"+short {
			continue
		}
		if inline {
			return value, true
		}
		if i+1 < len(args) {
			return args[i+1], true
		}
	}
	return "", false
}
