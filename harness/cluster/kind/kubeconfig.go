// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
)

// adminConfig waits for kubeadm to write the administrator's kubeconfig and returns
// it. The loop runs in the node: one docker exec, not one a look.
func adminConfig(ctx context.Context, n *node) (*api.Config, error) {
	const script = `until grep -qs client-key-data /etc/kubernetes/admin.conf; do sleep 0.1; done; cat /etc/kubernetes/admin.conf`
	var out bytes.Buffer
	if err := n.Run(ctx, cluster.Command{Path: "sh", Args: []string{"-c", script}, Stdout: &out}); err != nil {
		return nil, fmt.Errorf("wait for the administrator's kubeconfig: %w", err)
	}
	cfg, err := clientcmd.Load(out.Bytes())
	if err != nil {
		return nil, fmt.Errorf("read the administrator's kubeconfig: %w", err)
	}
	return cfg, nil
}

// redirect makes a copy of cfg that finds the API server at address.
func redirect(cfg *api.Config, address string) *api.Config {
	out := cfg.DeepCopy()
	for _, c := range out.Clusters {
		c.Server = "https://" + address
	}
	return out
}

// discovery makes the file a worker trusts the control plane by: its CA and name,
// and no credentials.
func discovery(cfg *api.Config, controlPlane string) ([]byte, error) {
	out := api.NewConfig()
	for _, c := range cfg.Clusters {
		out.Clusters[""] = &api.Cluster{
			Server:                   "https://" + net.JoinHostPort(controlPlane, "6443"),
			CertificateAuthorityData: c.CertificateAuthorityData,
		}
	}
	data, err := clientcmd.Write(*out)
	if err != nil {
		return nil, fmt.Errorf("write discovery file: %w", err)
	}
	return data, nil
}

// saveKubeconfig writes cfg for people and returns it for programs.
func saveKubeconfig(cfg *api.Config, path string) (*rest.Config, error) {
	data, err := clientcmd.Write(*cfg)
	if err != nil {
		return nil, fmt.Errorf("write kubeconfig: %w", err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return nil, fmt.Errorf("write kubeconfig: %w", err)
	}
	rc, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	// The default of 5 requests a second is for a shared cluster.
	rc.QPS, rc.Burst = 200, 400
	return rc, nil
}
