// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/cluster/await"
)

// kubeadmConfig is where kind writes each node's kubeadm configuration.
const kubeadmConfig = "/kind/kubeadm.conf"

// initControlPlane runs kubeadm init on the control plane.
func initControlPlane(ctx context.Context, o *Options, n *node) error {
	return kubeadm(ctx, o, n, nil, "kubeadm init --config="+kubeadmConfig+" --skip-token-print --v=5")
}

// join runs kubeadm join on a worker, with the discovery file its patched
// configuration names.
func join(ctx context.Context, o *Options, n *node, discovery []byte) error {
	script := "cat >" + discoveryPath + "\nexec kubeadm join --config=" + kubeadmConfig + " --v=5 </dev/null"
	return kubeadm(ctx, o, n, discovery, script)
}

func kubeadm(ctx context.Context, o *Options, n *node, stdin []byte, script string) error {
	path := o.path("kubeadm-" + strings.TrimPrefix(n.name, o.Name+"-") + ".log")
	log, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("run kubeadm on %s: %w", n.name, err)
	}
	c := cluster.Command{Path: "sh", Args: []string{"-c", script}, Stdout: log, Stderr: log}
	if stdin != nil {
		c.Stdin = io.Reader(strings.NewReader(string(stdin)))
	}
	err = n.Run(ctx, c)
	if cerr := log.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("%w (kubeadm's output: %s)", err, path)
	}
	return nil
}

// waitJoinable waits for what kubeadm join needs: the cluster-info ConfigMap, which
// kubeadm init writes after the configuration it uploads and before the add-ons.
func waitJoinable(ctx context.Context, c kubernetes.Interface) error {
	return await.Until(ctx, await.Wait{For: "the control plane to take workers", Within: apiWait, Every: pollFast},
		func(ctx context.Context) (bool, string, error) {
			_, err := c.CoreV1().ConfigMaps(metav1.NamespacePublic).Get(ctx, "cluster-info", metav1.GetOptions{})
			return err == nil, "", err
		})
}
