// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/fixtures"
	"github.com/lbmatrix/lbmatrix/harness/artifact/gobuild"
)

// programsRecipe changes when the way components are built does.
const programsRecipe = "programs-1"

// moduleProvider builds components from their Go modules.
type moduleProvider struct{}

func (moduleProvider) programs(ctx context.Context, part, version string) (recipe, error) {
	component, in := partOf(part)
	p, err := loadPin(fixtures.Components, component, version)
	if err != nil {
		return recipe{}, err
	}
	tools := slices.DeleteFunc(slices.Clone(p.tools), func(t string) bool { return !in(programName(t)) })
	if len(tools) == 0 {
		return recipe{}, fmt.Errorf("the pin of %s %s has no program of %s", component, version, part)
	}
	goVersion, err := gobuild.Version(ctx)
	if err != nil {
		return recipe{}, err
	}
	flags := linkerFlags(p)
	tags := addons()[component].tags
	inputs := append([]string{programsRecipe, goVersion, runtime.GOARCH, flags, string(p.mod), string(p.sum)}, nonEmpty(tags)...)
	if len(tools) < len(p.tools) {
		inputs = append(inputs, tools...)
	}
	return recipe{
		name: part, version: version, inputs: inputs,
		build: func(ctx context.Context, dir string, note func(string)) error {
			work, err := p.checkout(dir)
			if err != nil {
				return err
			}
			defer os.RemoveAll(work)
			note("go build " + strings.Join(programNames(tools), " "))
			stop := tick(note, "go build "+part)
			defer stop()
			return gobuild.Build(ctx, gobuild.Spec{Dir: work, Packages: tools, Out: dir + "/", LDFlags: flags, Tags: tags})
		},
	}, nil
}

// The programs of Kubernetes are two artifacts: those of every cluster, and those that only
// nodes with a kubelet have, which take nearly as long to build again.
const (
	partKubernetes     = "kubernetes"
	partKubernetesNode = "kubernetes-node"
)

// partOf is the component whose pin an artifact is built from, and which of the component's
// programs are in it.
func partOf(part string) (component string, in func(program string) bool) {
	onNodes := func(program string) bool {
		return slices.Contains([]string{"kubeadm", "kubelet", "kube-controller-manager", "kube-scheduler"}, program)
	}
	switch part {
	case partKubernetesNode:
		return partKubernetes, onNodes
	case partKubernetes:
		return partKubernetes, func(program string) bool { return !onNodes(program) }
	}
	return part, func(string) bool { return true }
}

// linkerFlags name the version in programs that learn it from their linker.
func linkerFlags(p pin) string {
	if p.component != partKubernetes {
		return strings.ReplaceAll(addons()[p.component].flags, "{version}", strings.TrimPrefix(p.version, "v"))
	}
	major, minor, _ := strings.Cut(strings.TrimPrefix(p.version, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	var flags []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, v := range [][2]string{
			{"gitVersion", p.version},
			{"gitMajor", major},
			{"gitMinor", minor},
			// kubeadm parses these; what they say does not matter, only that it does not change.
			{"gitCommit", "unknown"},
			{"gitTreeState", "clean"},
			{"buildDate", "1970-01-01T00:00:00Z"},
		} {
			flags = append(flags, fmt.Sprintf("-X %s.%s=%s", pkg, v[0], v[1]))
		}
	}
	return strings.Join(flags, " ")
}

// nonEmpty keeps the keys of what has no build tags as they were.
func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// programNames are the names go build gives: the last part of the path that is not
// a major version.
func programNames(tools []string) []string {
	names := make([]string, len(tools))
	for i, t := range tools {
		names[i] = programName(t)
	}
	return names
}

func programName(importPath string) string {
	parts := strings.Split(importPath, "/")
	last := parts[len(parts)-1]
	if len(parts) > 1 && len(last) > 1 && last[0] == 'v' && strings.Trim(last[1:], "0123456789") == "" {
		last = parts[len(parts)-2]
	}
	return last
}

// tick repeats a note while something long runs, so that its elapsed time moves.
func tick(note func(string), detail string) (stop func()) {
	done := make(chan struct{})
	go func() {
		t := time.NewTicker(15 * time.Second)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
				note(detail)
			}
		}
	}()
	return func() { close(done) }
}
