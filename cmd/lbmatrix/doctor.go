// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/preflight"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

// finding is one line of doctor. Level is ok, warn (it may do) or bad (it won't run).
type finding struct {
	Level string `json:"level"`
	What  string `json:"what"`
	Found string `json:"found"`
	Fix   string `json:"fix,omitempty"`
}

func (a *app) doctorCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look whether this machine can run scenarios, and say what to mend",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := examine(cmd.Context())
			bad := 0
			for _, f := range all {
				if f.Level == "bad" {
					bad++
				}
			}
			if format == "json" {
				if err := a.printJSON(all); err != nil {
					return err
				}
			} else {
				tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
				for _, f := range all {
					fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", f.Level, f.What, f.Found, f.Fix)
				}
				if err := tw.Flush(); err != nil {
					return failed(err)
				}
			}
			if bad > 0 {
				return &exitError{code: report.ExitBroken}
			}
			return nil
		},
	}
	outputFlag(cmd, &format, "text", "json")
	return cmd
}

// What a three-node cluster with its images needs.
const (
	needMemory   = 4 << 30  // bytes available; a cluster was measured at about 2.5 GiB
	needDisk     = 20 << 30 // bytes free in the cache, cold; 8 GiB once everything is built
	needInotify  = 512      // instances; each node's containerd, kubelet and systemd take some 40
	rootRequired = "run as root: building node images and the docker daemon of our own need it"
)

func examine(ctx context.Context) []finding {
	out := []finding{examineRoot(), examineDocker(ctx), examineInotify("/proc/sys/fs/inotify/max_user_instances")}
	out = append(out, examineMemory("/proc/meminfo"), examineDisk())
	return append(out, examineKernel()...)
}

// examineKernel says which scenarios the kernel of this machine cannot run. It loads
// nothing: a run does.
func examineKernel() []finding {
	kernel, err := preflight.Running()
	if err != nil {
		return []finding{{"warn", "kernel", err.Error(), ""}}
	}
	all, err := scenarios.All(runner.LoadOptions())
	if err != nil {
		return []finding{{"bad", "scenarios", firstLine(err.Error()), ""}}
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

func examineDocker(ctx context.Context) finding {
	d, err := docker.Find(ctx)
	if err != nil {
		return finding{"bad", "docker", firstLine(err.Error()), "lbmatrix docker start"}
	}
	info, err := d.Info(ctx)
	if err != nil {
		return finding{"bad", "docker", firstLine(err.Error()), "lbmatrix docker start"}
	}
	return finding{"ok", "docker", fmt.Sprintf("%s, version %s, cgroup v%s", d.Host, info.ServerVersion, info.CgroupVersion), ""}
}

func examineInotify(path string) finding {
	raw, err := os.ReadFile(path)
	n, aerr := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || aerr != nil {
		return finding{"warn", "inotify instances", "unknown", ""}
	}
	f := finding{"ok", "inotify instances", strconv.Itoa(n), ""}
	if n < needInotify {
		f.Level, f.Fix = "warn", fmt.Sprintf("sysctl -w fs.inotify.max_user_instances=%d: nodes die with \"too many open files\" below", needInotify)
	}
	return f
}

func examineMemory(path string) finding {
	raw, err := os.ReadFile(path)
	if err != nil {
		return finding{"warn", "memory", "unknown", ""}
	}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "MemAvailable:" {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			break
		}
		f := finding{"ok", "memory available", size(kib * 1024), ""}
		if kib*1024 < needMemory {
			f.Level, f.Fix = "warn", "a three-node cluster wants 4 GiB"
		}
		return f
	}
	return finding{"warn", "memory", "unknown", ""}
}

func examineDisk() finding {
	dir, err := os.UserCacheDir()
	if err != nil {
		return finding{"warn", "disk", err.Error(), "set HOME or LBMATRIX_CACHE"}
	}
	var st unix.Statfs_t
	for ; unix.Statfs(dir, &st) != nil && dir != "/"; dir = parent(dir) {
	}
	free := int64(st.Bavail) * st.Bsize
	f := finding{"ok", "disk free", size(free), ""}
	if free < needDisk {
		f.Level, f.Fix = "warn", "a cold build from Go modules wants 20 GB; `lbmatrix images list` shows what is cached"
	}
	return f
}

func parent(dir string) string {
	if i := strings.LastIndexByte(dir, '/'); i > 0 {
		return dir[:i]
	}
	return "/"
}
