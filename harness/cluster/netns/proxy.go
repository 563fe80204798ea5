// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"context"
	"fmt"
	goruntime "runtime"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/lbmatrix/lbmatrix/harness/cluster/netns/standin"
)

const (
	proxyConfigDir = "/var/lib/kube-proxy"
	proxyHealth    = 10256
	// startsPerCPU is how many programs start at a time on each processor, and startsLeast how
	// many at least: they also wait, for the API server and for each other. A cluster of three
	// nodes starts all of its dozen at once; with four at a time it took 0.4 s longer.
	startsPerCPU = 4
	startsLeast  = 12
)

// installProxy makes the objects by which kubeadm runs kube-proxy: a service account
// with the role system:node-proxier, its configuration, and a DaemonSet.
func (c *Cluster) installProxy(ctx context.Context) error {
	config, err := c.proxyConfig()
	if err != nil {
		return err
	}
	meta := metav1.ObjectMeta{Name: programProxy, Namespace: metav1.NamespaceSystem, Labels: map[string]string{"k8s-app": programProxy}}
	container := corev1.Container{
		Name: programProxy, Image: programProxy,
		Args: []string{"--config=" + proxyConfigDir + "/config.conf", "--hostname-override=$(NODE_NAME)"},
		Env: []corev1.EnvVar{{Name: "NODE_NAME", ValueFrom: &corev1.EnvVarSource{
			FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "spec.nodeName"},
		}}},
		VolumeMounts: []corev1.VolumeMount{{Name: programProxy, MountPath: proxyConfigDir}},
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(proxyHealth)},
		}},
	}
	set := &appsv1.DaemonSet{
		ObjectMeta: meta,
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: meta.Labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: meta.Labels},
				Spec: corev1.PodSpec{
					HostNetwork: true, PriorityClassName: "system-node-critical", ServiceAccountName: programProxy, Containers: []corev1.Container{container},
					Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
					Volumes: []corev1.Volume{{Name: programProxy, VolumeSource: corev1.VolumeSource{
						ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: programProxy}},
					}}},
				},
			},
		},
	}
	_, err = c.kube.CoreV1().ServiceAccounts(meta.Namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{})
	if err == nil {
		_, err = c.kube.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "kubeadm:node-proxier"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:node-proxier"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: programProxy, Namespace: meta.Namespace}},
		}, metav1.CreateOptions{})
	}
	if err == nil {
		_, err = c.kube.CoreV1().ConfigMaps(meta.Namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: meta, Data: config}, metav1.CreateOptions{})
	}
	if err == nil {
		_, err = c.kube.AppsV1().DaemonSets(meta.Namespace).Create(ctx, set, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("install kube-proxy: %w", err)
	}
	return nil
}

// proxyConfig is kube-proxy's configuration and its way to the API server, which does
// not depend on the Services it is to provide.
func (c *Cluster) proxyConfig() (map[string]string, error) {
	type object = map[string]any
	const service = "/var/run/secrets/kubernetes.io/serviceaccount/"
	plane := c.o.Scenario.Spec.DataPlane
	config := object{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": string(plane.Proxy), "clusterCIDR": strings.Join(both(c.layout, c.layout.pods, layout6.pods), ","), "bindAddress": "0.0.0.0",
		"clientConnection": object{"kubeconfig": proxyConfigDir + "/kubeconfig.conf"},
		"ipvs":             object{"strictARP": plane.StrictARP},
		// They are the whole kernel's, and read-only in a network namespace.
		"conntrack": object{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	}
	if plane.MinSyncPeriod != 0 {
		group, _ := config[string(plane.Proxy)].(object)
		if group == nil {
			group = object{}
		}
		group["minSyncPeriod"] = time.Duration(plane.MinSyncPeriod).String()
		config[string(plane.Proxy)] = group
	}
	proxy, err := yaml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("write kube-proxy's configuration: %w", err)
	}
	access, err := yaml.Marshal(object{
		"apiVersion": "v1", "kind": "Config", "current-context": "default",
		"clusters": []object{{"name": "default", "cluster": object{
			"server": "https://" + c.apiServer().String(), "certificate-authority": service + "ca.crt",
		}}},
		"users":    []object{{"name": "default", "user": object{"tokenFile": service + "token"}}},
		"contexts": []object{{"name": "default", "context": object{"cluster": "default", "user": "default"}}},
	})
	if err != nil {
		return nil, fmt.Errorf("write kube-proxy's configuration: %w", err)
	}
	return map[string]string{"config.conf": string(proxy), "kubeconfig.conf": string(access)}, nil
}

// standIn starts what does the work of controllers, scheduler and kubelets.
func (c *Cluster) standIn(ctx context.Context, k *keys) error {
	c.runtime = &runtime{c: c, places: map[string]*machine{}, given: map[string]int{}}
	o := standin.Options{
		Client: c.kube, Runtime: c.runtime,
		APIServer: c.apiServer(), CA: k.ca, Starting: max(startsLeast, startsPerCPU*goruntime.NumCPU()), Crashed: c.crashed,
	}
	for _, n := range c.nodes {
		o.Nodes = append(o.Nodes, standin.Node{Name: n.name, Addresses: c.layout.addresses(n.offset), ControlPlane: n.ControlPlane()})
	}
	var err error
	c.agent, err = standin.Start(ctx, o)
	return err
}
