// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/cluster/evidence"
)

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
	var files []evidence.File
	for _, n := range c.nodes {
		for file, script := range nodeEvidence {
			files = append(files, evidence.File{Path: filepath.Join(dir, n.name, file), Write: func(ctx context.Context, f *os.File) error {
				return n.Run(ctx, cluster.Command{Path: "sh", Args: []string{"-c", script}, Stdout: f, Stderr: f})
			}})
		}
	}
	if c.forward != nil {
		for file, args := range clusterEvidence {
			files = append(files, evidence.File{Path: filepath.Join(dir, file), Write: func(ctx context.Context, f *os.File) error {
				cmd := exec.CommandContext(ctx, c.o.Programs[programKubectl], append([]string{"--kubeconfig", c.o.path("kubeconfig")}, args...)...)
				cmd.Stdout, cmd.Stderr = f, f
				return cmd.Run()
			}})
		}
	}
	return evidence.Collect(ctx, files)
}
