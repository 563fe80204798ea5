// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/lbmatrix/lbmatrix/harness/cluster/await"
	"github.com/lbmatrix/lbmatrix/harness/cluster/forwarder"
	"github.com/lbmatrix/lbmatrix/harness/pace"
)

// apiPort is where the API server is, on every address of the control plane.
const apiPort = 6443

const (
	apiWait  = 2 * time.Minute // a bound against a hang: it takes some 2 s
	pollFast = 25 * time.Millisecond
)

// startControlPlane starts etcd and the API server, which waits for etcd by itself.
// The data lie in the machine's /run: in memory, and gone with the machine.
func (c *Cluster) startControlPlane(k *keys) error {
	cp, address := c.nodes[0], c.layout.address(offsetNodes)
	etcd := []string{
		c.o.Programs[programEtcd], "--name=lbmatrix", "--data-dir=/run/lbmatrix/etcd",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=lbmatrix=http://127.0.0.1:2380",
		// Of one member: it need not wait a second before it elects itself (ms).
		"--heartbeat-interval=10", "--election-timeout=100",
		"--unsafe-no-fsync", "--log-level=warn",
	}
	server := []string{
		c.o.Programs[programAPIServer], "--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=0.0.0.0", "--secure-port=" + strconv.Itoa(apiPort), "--advertise-address=" + address.String(),
		"--service-cluster-ip-range=" + strings.Join(both(c.layout, c.layout.services, layout6.services), ","),
		"--tls-cert-file=" + filepath.Join(k.dir, "serving.crt"), "--tls-private-key-file=" + filepath.Join(k.dir, "serving.key"),
		"--token-auth-file=" + k.tokens, "--authorization-mode=RBAC", "--allow-privileged",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-signing-key-file=" + filepath.Join(k.dir, "accounts.key"), "--service-account-key-file=" + filepath.Join(k.dir, "accounts.key"),
		// There is no controller that makes service accounts or that clears the taint of
		// a node that has just registered.
		"--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
	}
	for _, p := range []struct {
		name string
		argv []string
	}{{programEtcd, etcd}, {programAPIServer, server}} {
		started, err := cp.start(p.name, c.o.path("cluster", cp.name, p.name+".log"), nil, p.argv)
		if err != nil {
			return err
		}
		c.control = append(c.control, started)
		go c.watch(started)
	}
	return nil
}

// answersPath is ready when the API server is, but for its roles and priority classes. It
// looks once a second whether it can make those (k8s.io/kubernetes, pkg/registry/rbac/rest
// and pkg/registry/scheduling/rest), and the administrator, whose group needs no role, goes
// on meanwhile.
const answersPath = "/readyz?exclude=poststarthook/rbac/bootstrap-roles&exclude=poststarthook/scheduling/bootstrap-system-priority-classes"

// reachAPI makes the way from this host to the API server and waits until it takes objects.
func (c *Cluster) reachAPI(ctx context.Context, k *keys) error {
	inside := forwarder.InNamespace(c.nodes[0].netns(), c.o.Programs[programProbe], net.JoinHostPort("127.0.0.1", strconv.Itoa(apiPort)))
	var err error
	if c.forward, err = forwarder.Start(c.o.Ledger, c.o.Log, inside); err != nil {
		return err
	}
	config, err := kubeconfig("https://"+c.forward.Address(), k)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.o.path("kubeconfig"), config, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	if c.rest, err = clientcmd.RESTConfigFromKubeConfig(config); err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	// The default of 5 requests a second is for a shared cluster.
	c.rest.QPS, c.rest.Burst = 200, 400
	if c.kube, err = kubernetes.NewForConfig(c.rest); err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	return c.awaitAPI(ctx, "the API server to take objects", answersPath)
}

// awaitAPI waits until a path of the API server answers with success.
func (c *Cluster) awaitAPI(ctx context.Context, what, path string) error {
	probe := rest.CopyConfig(c.rest)
	probe.Timeout = pace.Scale(ctx, 2*time.Second)
	client, err := kubernetes.NewForConfig(probe)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	return await.Until(ctx, await.Wait{For: what, Within: apiWait, Every: pollFast}, func(ctx context.Context) (bool, string, error) {
		if err := c.controlPlaneDied(); err != nil {
			return false, "", await.Fatal(err)
		}
		_, err := client.Discovery().RESTClient().Get().RequestURI(path).MaxRetries(0).DoRaw(ctx)
		return err == nil, "", err
	})
}

// controlPlaneDied says which process of the control plane ended, and how.
func (c *Cluster) controlPlaneDied() error {
	var errs []error
	for _, p := range c.control {
		errs = append(errs, p.died())
	}
	return errors.Join(errs...)
}

// kubeconfig is the administrator's.
func kubeconfig(server string, k *keys) ([]byte, error) {
	cfg := api.NewConfig()
	cfg.Clusters["lbmatrix"] = &api.Cluster{Server: server, CertificateAuthorityData: k.ca}
	cfg.AuthInfos["lbmatrix"] = &api.AuthInfo{Token: k.token}
	cfg.Contexts["lbmatrix"] = &api.Context{Cluster: "lbmatrix", AuthInfo: "lbmatrix"}
	cfg.CurrentContext = "lbmatrix"
	data, err := clientcmd.Write(*cfg)
	if err != nil {
		return nil, fmt.Errorf("write kubeconfig: %w", err)
	}
	return data, nil
}

// Labels and taint that kubeadm gives a control plane.
const (
	controlPlaneLabel = "node-role.kubernetes.io/control-plane"
	excludeLabel      = corev1.LabelNodeExcludeBalancers
)

// registerNodes makes the Node objects, which kubelets would.
func (c *Cluster) registerNodes(ctx context.Context) error {
	for _, n := range c.nodes {
		parts := both(c.layout, c.layout.podParts[n.node], func(l layout6) netip.Prefix { return l.podPart(n.node) })
		node := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{
				corev1.LabelHostname: n.name, corev1.LabelOSStable: "linux",
			}},
			Spec: corev1.NodeSpec{PodCIDR: parts[0], PodCIDRs: parts},
			Status: corev1.NodeStatus{
				Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: n.name}},
				Conditions: []corev1.NodeCondition{{
					Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Namespaces", Message: "a machine of Linux namespaces; there is no kubelet",
					LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
				}},
				NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "none", OperatingSystem: "linux"},
			},
		}
		for _, a := range c.layout.addresses(n.offset) {
			node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
		}
		if n.ControlPlane() {
			node.Labels[controlPlaneLabel] = ""
			node.Spec.Taints = []corev1.Taint{{Key: controlPlaneLabel, Effect: corev1.TaintEffectNoSchedule}}
			if !c.o.Scenario.Spec.Cluster.ControlPlaneAnnounces {
				node.Labels[excludeLabel] = ""
			}
		}
		if _, err := c.kube.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("register node %s: %w", n.name, err)
		}
	}
	return nil
}
