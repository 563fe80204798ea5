// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package component

import (
	"context"

	"k8s.io/client-go/kubernetes"
)

// Names that Cilium's chart gives its workloads.
const (
	ciliumAgent    = "cilium"
	ciliumOperator = "cilium-operator"
)

// apiServerPort is where a control plane serves on its own address.
const apiServerPort = 6443

// CiliumDefaults are the harness's values for Cilium's chart: images that are on the
// nodes, the pod subnets that the nodes have been given, and nothing that a load
// balancer does not need. apiServer is an address of the control plane that works
// without kube-proxy: nobody else can say where the API server is then.
func CiliumDefaults(version, apiServer, podSubnet string) map[string]any {
	image := func(name string) map[string]any {
		return map[string]any{"repository": "quay.io/cilium/" + name, "tag": version, "useDigest": false, "pullPolicy": "IfNotPresent"}
	}
	return map[string]any{
		"image":                 image("cilium"),
		"operator":              map[string]any{"image": image("operator"), "replicas": 1},
		"k8sServiceHost":        apiServer,
		"k8sServicePort":        apiServerPort,
		"ipam":                  map[string]any{"mode": "kubernetes"},
		"ipv4NativeRoutingCIDR": podSubnet,
		// Envoy is an image of its own and serves L7 policies and ingress; Hubble observes.
		"envoy":   map[string]any{"enabled": false},
		"l7Proxy": false,
		"hubble":  map[string]any{"enabled": false},
	}
}

// WaitCilium waits for an agent on every node. Whether it forwards is not known from
// here: dataplane-active asks the agents, and the traffic tells.
func WaitCilium(ctx context.Context, c kubernetes.Interface, namespace string, progress func(string)) error {
	if err := WaitDaemonSet(ctx, c, namespace, ciliumAgent, progress); err != nil {
		return err
	}
	return WaitDeployment(ctx, c, namespace, ciliumOperator, progress)
}
