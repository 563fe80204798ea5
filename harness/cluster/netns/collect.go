// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
)

// collectTime bounds one command of Collect.
const collectTime = 30 * time.Second

// nodeEvidence is what is asked of every node; the key is the file's name. The logs of
// its programs are there already.
var nodeEvidence = map[string]string{
	"network.txt":   "ip addr; ip route; ip neigh; ip rule",
	"firewall.txt":  "iptables-save; nft list ruleset; ipvsadm -Ln; true",
	"sysctl.txt":    "sysctl -a 2>/dev/null | grep -E '^net[.](ipv4[.](ip_forward|conf)|netfilter)'",
	"processes.txt": "ps ax -o pid,ppid,rss,etime,args",
}

// clusterEvidence is what is asked of the API server.
var clusterEvidence = map[string][]string{
	"objects.txt":  {"get", "nodes,pods,services,endpointslices,daemonsets,deployments", "-A", "-o", "wide"},
	"events.txt":   {"get", "events", "-A", "--sort-by=.lastTimestamp"},
	"objects.yaml": {"get", "nodes,pods,services,endpointslices,configmaps", "-A", "-o", "yaml"},
	"metallb.yaml": {"get", "ipaddresspools,l2advertisements,servicel2statuses", "-A", "-o", "yaml"},
	"describe.txt": {"describe", "pods", "-A"},
}

// Collect implements cluster.Cluster. It collects what it can and joins the errors.
func (c *Cluster) Collect(ctx context.Context, dir string) error {
	var jobs []func() error
	for _, n := range c.nodes {
		for file, script := range nodeEvidence {
			jobs = append(jobs, func() error {
				return intoFile(ctx, filepath.Join(dir, n.name, file), func(ctx context.Context, f *os.File) error {
					return n.Run(ctx, cluster.Command{Path: "sh", Args: []string{"-c", script}, Stdout: f, Stderr: f})
				})
			})
		}
	}
	if c.forward != nil {
		for file, args := range clusterEvidence {
			jobs = append(jobs, func() error {
				return intoFile(ctx, filepath.Join(dir, file), func(ctx context.Context, f *os.File) error {
					cmd := exec.CommandContext(ctx, c.o.Programs[programKubectl], append([]string{"--kubeconfig", c.o.path("kubeconfig")}, args...)...)
					cmd.Stdout, cmd.Stderr = f, f
					return cmd.Run()
				})
			})
		}
	}
	errs := make([]error, len(jobs))
	var g errgroup.Group
	g.SetLimit(4) // two cores are usual; more only makes each one slower
	for i, job := range jobs {
		g.Go(func() error { errs[i] = job(); return nil })
	}
	_ = g.Wait() // errors are in errs
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("collect evidence: %w", err)
	}
	return nil
}

func intoFile(ctx context.Context, path string, write func(context.Context, *os.File) error) error {
	ctx, cancel := context.WithTimeout(ctx, collectTime)
	defer cancel()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = write(ctx, f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}
