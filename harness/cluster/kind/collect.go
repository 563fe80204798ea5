// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"context"
	"os"
	"path/filepath"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/cluster/evidence"
)

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
	var files []evidence.File
	script := func(h cluster.Host, text string, path ...string) {
		files = append(files, evidence.File{Path: filepath.Join(path...), Write: func(ctx context.Context, f *os.File) error {
			return h.Run(ctx, cluster.Command{Path: "sh", Args: []string{"-c", text}, Stdout: f, Stderr: f})
		}})
	}
	docker := func(file string, args ...string) {
		files = append(files, evidence.File{Path: filepath.Join(dir, file), Write: func(ctx context.Context, f *os.File) error {
			cmd := c.o.Docker.Command(ctx, args...)
			cmd.Stdout, cmd.Stderr = f, f
			return cmd.Run()
		}})
	}
	for _, n := range c.nodes {
		for file, text := range nodeEvidence {
			script(n, text, dir, n.name, file)
		}
	}
	for file, text := range clusterEvidence {
		script(c.nodes[0], "export KUBECONFIG=/etc/kubernetes/admin.conf; "+text, dir, file)
	}
	for _, name := range c.containers() {
		docker(name+".inspect.json", "inspect", name)
		docker(name+".log", "logs", name)
	}
	docker("network.inspect.json", "network", "inspect", c.o.Name)
	return evidence.Collect(ctx, files)
}
