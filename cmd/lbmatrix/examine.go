// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/cluster/kind"
	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/preflight"
	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

// What a three-node cluster with its images needs.
const (
	needMemory   = 4 << 30  // bytes available; a cluster was measured at about 2.5 GiB
	needDisk     = 20 << 30 // bytes free in the cache, cold; 8 GiB once everything is built
	rootRequired = "run as root: building node images and the docker daemon of our own need it"
)

func examine(ctx context.Context) []finding {
	all, err := scenarios.All(runner.LoadOptions())
	if err != nil {
		return []finding{{"bad", "scenarios", firstLine(err.Error()), ""}}
	}
	out := []finding{examineRoot(), examineGo()}
	out = append(out, examineDocker(ctx, all)...)
	out = append(out, examineInotify(preflight.ThisInotify()), examineMemory(preflight.Memory), examineCache())
	return append(out, examineKernel(all)...)
}

// examineKernel says which scenarios the kernel of this machine cannot run. It loads
// nothing: a run does.
func examineKernel(all []*scenario.Scenario) []finding {
	kernel, err := preflight.Running()
	if err != nil {
		return []finding{{"warn", "kernel", err.Error(), ""}}
	}
	var out []finding
	for _, sc := range all {
		var absent, loadable []string
		for _, f := range preflight.Needs(sc) {
			switch kernel.State(f) {
			case preflight.Absent:
				absent = append(absent, f.Option)
			case preflight.Loadable:
				loadable = append(loadable, f.Module)
			}
		}
		switch {
		case len(absent) > 0 && runner.GuestCanRun(sc):
			out = append(out, finding{"ok", sc.Metadata.Name, "a run boots a guest: kernel " + kernel.Release + " has no " + strings.Join(absent, ", "), ""})
		case len(absent) > 0:
			out = append(out, finding{"warn", sc.Metadata.Name, "unsupported: kernel " + kernel.Release + " has no " + strings.Join(absent, ", "), "run it on a machine whose kernel has it"})
		case len(loadable) > 0:
			out = append(out, finding{"ok", sc.Metadata.Name, "a run loads " + strings.Join(loadable, ", "), ""})
		}
	}
	if len(out) == 0 {
		out = []finding{{"ok", "kernel", kernel.Release + " can run every scenario", ""}}
	}
	return out
}

func examineRoot() finding {
	if os.Geteuid() != 0 {
		return finding{"warn", "user", "not root", rootRequired}
	}
	return finding{"ok", "user", "root", ""}
}

// examineGo looks for what builds lbprobe, and everything else where the source is
// go-module.
func examineGo() finding {
	path, err := exec.LookPath("go")
	if err != nil {
		return finding{"bad", "go", "not in PATH", "install Go, see README, and put it into PATH"}
	}
	return finding{"ok", "go", path, ""}
}

// examineDocker asks the daemon, and what depends on it: cgroups, addresses, its disk.
func examineDocker(ctx context.Context, all []*scenario.Scenario) []finding {
	d, err := docker.Find(ctx)
	if err != nil {
		return []finding{{"bad", "docker", firstLine(err.Error()), "lbmatrix docker start"}}
	}
	info, err := d.Info(ctx)
	if err != nil {
		return []finding{{"bad", "docker", firstLine(err.Error()), "lbmatrix docker start"}}
	}
	return []finding{
		{"ok", "docker", fmt.Sprintf("%s, version %s", d.Host, info.ServerVersion), ""},
		examineCgroup(info.CgroupVersion, all), examineSegments(ctx, d, all), examineRoom("docker's disk", info.DockerRootDir, preflight.DiskPerCluster),
	}
}

// examineCgroup: kubelet refuses version 1 from Kubernetes 1.36 on.
func examineCgroup(version string, all []*scenario.Scenario) finding {
	if version != "1" {
		return finding{"ok", "cgroups", "version " + version, ""}
	}
	var refused []string
	for _, sc := range all {
		if kind.RefusesCgroupV1(sc.Spec.Cluster.Kubernetes) {
			refused = append(refused, sc.Metadata.Name)
		}
	}
	if len(refused) > 0 {
		return finding{"warn", "cgroups", "version 1: cannot run " + strings.Join(refused, ", "), "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line"}
	}
	return finding{"ok", "cgroups", "version 1: Kubernetes up to 1.35", ""}
}

// examineSegments: every cluster gets a network that overlaps nothing.
func examineSegments(ctx context.Context, d *docker.Client, all []*scenario.Scenario) finding {
	least, most := -1, 0
	for _, sc := range all {
		free, total, err := kind.FreeSegments(ctx, d, sc)
		if err != nil {
			return finding{"bad", "addresses", sc.Metadata.Name + ": " + firstLine(err.Error()), "docker network prune, or other subnets in the scenario"}
		}
		if least < 0 || free < least {
			least, most = free, total
		}
	}
	return finding{"ok", "addresses", fmt.Sprintf("%d of %d segments overlap no network, link or route", least, most), ""}
}

func examineInotify(i preflight.Inotify) finding {
	limit, err := i.Limit()
	if err != nil {
		return finding{"warn", "inotify instances", "unknown", ""}
	}
	f := finding{"ok", "inotify instances", strconv.Itoa(limit), ""}
	if limit < preflight.InotifyLimit {
		f.Level, f.Fix = "warn", preflight.InotifyFix()+": nodes die with \"too many open files\" below (a run as root raises it)"
	}
	return f
}

func examineMemory(path string) finding {
	free, err := preflight.Available(path)
	if err != nil {
		return finding{"warn", "memory", "unknown", ""}
	}
	f := finding{"ok", "memory available", size(free), ""}
	if free < needMemory {
		f.Level, f.Fix = "warn", "a three-node cluster wants 4 GiB: stop something"
	}
	return f
}

// examineCache looks at the disk of the cache. A warm one needs less, and is told as ok.
func examineCache() finding {
	dir := os.Getenv("LBMATRIX_CACHE")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return finding{"warn", "cache's disk", err.Error(), "set HOME or LBMATRIX_CACHE"}
		}
		dir = filepath.Join(cache, "lbmatrix")
	}
	f := examineRoom("cache's disk", dir, needDisk)
	if f.Level == "warn" {
		f.Fix = "a cold build from Go modules wants 20 GB; `lbmatrix images list` shows what is cached, LBMATRIX_CACHE moves it"
	}
	return f
}

func examineRoom(what, dir string, need int64) finding {
	free, err := preflight.Room(dir)
	if err != nil {
		return finding{"warn", what, firstLine(err.Error()), ""}
	}
	f := finding{"ok", what, size(free) + " free at " + dir, ""}
	if free < need {
		f.Level, f.Fix = "warn", "make room: docker system prune, lbmatrix docker stop --purge"
	}
	return f
}
