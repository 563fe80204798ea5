// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package preflight says before anything is built whether a scenario can run here at
// all, and if not what is missing and how to get it.
package preflight

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
)

// Feature is something of the kernel that a data plane needs.
type Feature struct {
	Option string // of the kernel's configuration, for example CONFIG_IP_VS
	Module string // its name as a module; "" where it can only be built in
}

// State is how far a feature is there.
type State int

// The states of a feature.
const (
	Unknown  State = iota // nothing readable says so
	Present               // built in, or loaded
	Loadable              // a module that is not loaded
	Absent                // neither built in nor there as a module
)

// Kernel is a running kernel and what its machine says of it.
type Kernel struct {
	Release  string // uname -r
	root     fs.FS
	modprobe func(ctx context.Context, module string) error
	config   map[string]string // option -> y or m; nil where no configuration is readable
}

// Running is the kernel of this machine.
func Running() (*Kernel, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("ask for the kernel: %w", err)
	}
	return newKernel(os.DirFS("/"), unix.ByteSliceToString(uts.Release[:]), func(ctx context.Context, module string) error {
		_, err := proc.Run(ctx, proc.Command(ctx, "modprobe", module))
		return err
	})
}

// At is a kernel that does not run here: root is laid out like the file system of a
// machine that it runs on, with boot/config-RELEASE and lib/modules/RELEASE. Its modules
// cannot be loaded from here.
func At(root fs.FS, release string) (*Kernel, error) {
	return newKernel(root, release, func(context.Context, string) error { return errors.New("the kernel does not run here") })
}

func newKernel(root fs.FS, release string, modprobe func(context.Context, string) error) (*Kernel, error) {
	k := &Kernel{Release: release, root: root, modprobe: modprobe}
	text, err := k.configuration()
	if err != nil || text == nil {
		return k, err
	}
	k.config = map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if option, value, ok := strings.Cut(lines.Text(), "="); ok && strings.HasPrefix(option, "CONFIG_") {
			k.config[option] = value
		}
	}
	return k, nil
}

// configuration is the text the kernel was configured with, nil where there is none.
func (k *Kernel) configuration() ([]byte, error) {
	packed, err := fs.ReadFile(k.root, "proc/config.gz")
	if err == nil {
		r, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, fmt.Errorf("read /proc/config.gz: %w", err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return nil, fmt.Errorf("read /proc/config.gz: %w", err)
		}
		return text, nil
	}
	for _, name := range []string{"boot/config-" + k.Release, path.Join("lib/modules", k.Release, "config")} {
		if text, err := fs.ReadFile(k.root, name); err == nil {
			return text, nil
		}
	}
	return nil, nil
}

// State says how far a feature is there.
func (k *Kernel) State(f Feature) State {
	if k.config != nil && k.config[f.Option] == "y" {
		return Present
	}
	if f.Module != "" {
		if _, err := fs.Stat(k.root, "sys/module/"+f.Module); err == nil {
			return Present
		}
		builtin, inBuiltin := k.listed("modules.builtin", f.Module)
		loadable, inModules := k.listed("modules.dep", f.Module)
		switch {
		case builtin:
			return Present
		case loadable:
			return Loadable
		case inBuiltin && inModules:
			return Absent
		}
	}
	if k.config != nil {
		// Not built in, and where it is a module its file is not there.
		return Absent
	}
	return Unknown
}

// listed says whether one of depmod's lists names a module, and whether there is such
// a list. Module files use - and _ as they like; the kernel does not tell them apart.
func (k *Kernel) listed(list, module string) (is, readable bool) {
	text, err := fs.ReadFile(k.root, path.Join("lib/modules", k.Release, list))
	if err != nil {
		return false, false
	}
	for line := range strings.Lines(string(text)) {
		file, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		name, _, _ := strings.Cut(path.Base(file), ".ko")
		if strings.ReplaceAll(name, "-", "_") == module {
			return true, true
		}
	}
	return false, true
}

// Load loads a module, as kube-proxy would try to from inside a node.
func (k *Kernel) Load(ctx context.Context, f Feature) error {
	if err := k.modprobe(ctx, f.Module); err != nil {
		return fmt.Errorf("load module %s: %w", f.Module, err)
	}
	if k.State(f) != Present {
		return fmt.Errorf("load module %s: %w", f.Module, errors.New("modprobe said it did, and it is not there"))
	}
	return nil
}
