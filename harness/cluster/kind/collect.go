// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
)

// collectTime bounds one command of Collect: a hung node must not hang the run's end.
const collectTime = 30 * time.Second

// nodeEvidence is what is asked of every node; the key is the file's name.
var nodeEvidence = map[string]string{
	"kubelet.log":    "journalctl --no-pager -u kubelet",
	"containerd.log": "journalctl --no-pager -u containerd",
	"journal.log":    "journalctl --no-pager -n 2000",
	"network.txt":    "ip addr; ip route; ip neigh; ip rule",
	"firewall.txt":   "iptables-save; nft list ruleset; ipvsadm -Ln; true",
	"sysctl.txt":     "sysctl -a 2>/dev/null | grep -E '^net[.](ipv4[.](ip_forward|conf)|netfilter)'",
	"containers.txt": "ctr -n k8s.io containers ls; ctr -n k8s.io tasks ls",
	"pods.tar":       "tar -C /var/log -chf - pods",
}

// clusterEvidence is what is asked of the API server, from the control plane.
var clusterEvidence = map[string]string{
	"objects.txt":   "kubectl get nodes,pods,services,endpointslices,daemonsets,deployments -A -o wide",
	"events.txt":    "kubectl get events -A --sort-by=.lastTimestamp",
	"objects.yaml":  "kubectl get nodes,pods,services,endpointslices,configmaps -A -o yaml",
	"metallb.yaml":  "kubectl get ipaddresspools,l2advertisements,servicel2statuses -A -o yaml || true",
	"describe.txt":  "kubectl describe nodes; kubectl describe pods -A",
	"resources.txt": "kubectl api-resources",
}

// Collect implements cluster.Cluster. It collects what it can and joins the errors.
func (c *Cluster) Collect(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("collect evidence: %w", err)
	}
	var jobs []func() error
	for _, n := range c.nodes {
		for file, script := range nodeEvidence {
			jobs = append(jobs, func() error { return collectScript(ctx, n, script, filepath.Join(dir, n.name, file)) })
		}
	}
	for file, script := range clusterEvidence {
		script = "export KUBECONFIG=/etc/kubernetes/admin.conf; " + script
		jobs = append(jobs, func() error { return collectScript(ctx, c.nodes[0], script, filepath.Join(dir, file)) })
	}
	for _, name := range c.containers() {
		jobs = append(jobs,
			func() error { return c.collectDocker(ctx, filepath.Join(dir, name+".inspect.json"), "inspect", name) },
			func() error { return c.collectDocker(ctx, filepath.Join(dir, name+".log"), "logs", name) })
	}
	jobs = append(jobs, func() error {
		return c.collectDocker(ctx, filepath.Join(dir, "network.inspect.json"), "network", "inspect", c.o.Name)
	})

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

func collectScript(ctx context.Context, h cluster.Host, script, path string) error {
	ctx, cancel := context.WithTimeout(ctx, collectTime)
	defer cancel()
	return intoFile(path, func(f *os.File) error {
		return h.Run(ctx, cluster.Command{Path: "sh", Args: []string{"-c", script}, Stdout: f, Stderr: f})
	})
}

func (c *Cluster) collectDocker(ctx context.Context, path string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, collectTime)
	defer cancel()
	return intoFile(path, func(f *os.File) error {
		cmd := c.o.Docker.Command(ctx, args...)
		cmd.Stdout, cmd.Stderr = f, f
		return cmd.Run()
	})
}

func intoFile(path string, write func(*os.File) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = write(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}
