// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/lbmatrix/lbmatrix/fixtures"
	"github.com/lbmatrix/lbmatrix/harness/artifact/gobuild"
	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
)

// pin fixes one version of one component: a go.mod, complete with its go.sum.
type pin struct {
	component, version string
	mod, sum           []byte
	module             string   // the component's module: the one its tools are in
	tools              []string // import paths of the programs
}

// loadPin reads the pin of a version from the fixtures.
func loadPin(fsys fs.FS, component, version string) (pin, error) {
	dir := path.Join("components", component, version)
	p := pin{component: component, version: version}
	var err error
	if p.mod, err = fs.ReadFile(fsys, path.Join(dir, "module.mod")); errors.Is(err, fs.ErrNotExist) {
		return pin{}, unpinned(fsys, component, version)
	} else if err != nil {
		return pin{}, fmt.Errorf("read pin: %w", err)
	}
	if p.sum, err = fs.ReadFile(fsys, path.Join(dir, "module.sum")); err != nil {
		return pin{}, fmt.Errorf("read pin: %w", err)
	}
	return p, p.parse()
}

// unpinned is the error of a version that there is no pin for.
func unpinned(fsys fs.FS, component, version string) error {
	return fmt.Errorf("no pin for %s %s: known versions are %s", component, version, strings.Join(versions(fsys, component), ", "))
}

// parse finds the tools and the module they are in: the longest required path, at
// the pinned version, that leads every tool's.
func (p *pin) parse() error {
	var required []string
	block := ""
	for line := range strings.Lines(string(p.mod)) {
		line, _, _ = strings.Cut(line, "//")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if fields[0] == ")" {
			block = ""
			continue
		}
		if len(fields) == 2 && fields[1] == "(" {
			block = fields[0]
			continue
		}
		if block != "" {
			fields = append([]string{block}, fields...)
		}
		switch {
		case fields[0] == "tool" && len(fields) == 2:
			p.tools = append(p.tools, fields[1])
		case fields[0] == "require" && len(fields) == 3 && fields[2] == p.version:
			required = append(required, fields[1])
		}
	}
	for _, module := range required {
		if len(module) > len(p.module) && leadsAll(module, p.tools) {
			p.module = module
		}
	}
	if len(p.tools) == 0 || p.module == "" {
		return fmt.Errorf("read pin of %s %s: no tool, or no module required at that version that holds the tools", p.component, p.version)
	}
	return nil
}

func leadsAll(module string, tools []string) bool {
	for _, t := range tools {
		if t != module && !strings.HasPrefix(t, module+"/") {
			return false
		}
	}
	return true
}

// versions lists the pinned versions of a component, oldest first.
func versions(fsys fs.FS, component string) []string {
	entries, err := fs.ReadDir(fsys, path.Join("components", component))
	if err != nil {
		return nil
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	sort.Slice(list, func(i, j int) bool { return olderVersion(list[i], list[j]) })
	return list
}

// olderVersion compares numbers as numbers: v1.9.0 is older than v1.10.0.
func olderVersion(a, b string) bool {
	split := func(r rune) bool { return r == '.' || r == '-' || r == 'v' }
	x, y := strings.FieldsFunc(a, split), strings.FieldsFunc(b, split)
	for i := 0; i < len(x) && i < len(y); i++ {
		if x[i] == y[i] {
			continue
		}
		if len(x[i]) != len(y[i]) {
			return len(x[i]) < len(y[i])
		}
		return x[i] < y[i]
	}
	return len(x) < len(y)
}

// Versions lists the pinned versions of a component, oldest first.
func Versions(component string) []string { return versions(fixtures.Components, component) }

// CheckPins says which versions of a set cannot be built from Go modules, and which can:
// all mistakes, before anything is made. A component's version is no matter where builds of
// the user's own stand in for its chart and every image.
func CheckPins(set Set, own Own) error {
	errs := []error{checkPin(partKubernetes, set.Kubernetes)}
	for _, component := range slices.Sorted(maps.Keys(set.Components)) {
		a, err := lookupAddon(component)
		switch {
		case err != nil && len(Versions(component)) == 0: // no part that every cluster has, either
			errs = append(errs, err)
		case err == nil && own.Charts[component] != "" && own.whole(component, a): // not built
		default:
			errs = append(errs, checkPin(component, set.Components[component]))
		}
	}
	return errors.Join(errs...)
}

func checkPin(component, version string) error {
	if !slices.Contains(Versions(component), version) {
		return unpinned(fixtures.Components, component, version)
	}
	return nil
}

// usual is the version that is built of a component where none is named: the one that the
// scenarios name. For kubernetes and metallb, of which a sweep has several pins, that is
// written here; of everything else there is one.
func usual(component string) string {
	component, _ = partOf(component)
	switch component {
	case partKubernetes:
		return "v1.35.4"
	case "metallb":
		return "v0.15.2"
	}
	list := Versions(component)
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

// checkout writes the pin as a module of its own and returns its folder.
func (p pin) checkout(dir string) (string, error) {
	work := filepath.Join(dir, "module")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return "", err
	}
	for name, data := range map[string][]byte{"go.mod": p.mod, "go.sum": p.sum} {
		if err := os.WriteFile(filepath.Join(work, name), data, 0o644); err != nil {
			return "", err
		}
	}
	return work, nil
}

// moduleDir is the component's own folder in the module cache, verified against the
// pin's checksums.
func (p pin) moduleDir(ctx context.Context) (string, error) {
	tmp, err := os.MkdirTemp("", "lbmatrix-pin-")
	if err != nil {
		return "", fmt.Errorf("find module %s: %w", p.module, err)
	}
	defer os.RemoveAll(tmp)
	work, err := p.checkout(tmp)
	if err != nil {
		return "", fmt.Errorf("find module %s: %w", p.module, err)
	}
	cmd := proc.Command(ctx, "go", "mod", "download", "-json", p.module)
	cmd.Dir = work
	cmd.Env = gobuild.Environ()
	out, err := proc.Run(ctx, cmd)
	if err != nil {
		return "", fmt.Errorf("download module %s: %w", p.module, err)
	}
	var answer struct{ Dir, Error string }
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return "", fmt.Errorf("download module %s: %w", p.module, err)
	}
	if answer.Error != "" || answer.Dir == "" {
		return "", fmt.Errorf("download module %s: %s", p.module, answer.Error)
	}
	return answer.Dir, nil
}
