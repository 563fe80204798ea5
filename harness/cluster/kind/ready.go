// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/cluster/await"
)

// waitReady waits until every member is a Ready node. On the way each node gets, as
// soon as it is registered, the podCIDR its network was set up with.
func waitReady(ctx context.Context, c kubernetes.Interface, members []member, progress func(string)) error {
	w := await.Wait{
		For: fmt.Sprintf("%d nodes to be Ready", len(members)), Within: readyWait, Every: pollFast,
		Changed: func(s string) { progress("nodes: " + s) },
	}
	return await.Until(ctx, w, func(ctx context.Context) (bool, string, error) {
		list, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, "", err
		}
		found, state := nodeStates(list.Items, members)
		return found, state, assignPodCIDRs(ctx, c, list.Items, members)
	})
}

// nodeStates says how far the nodes are, in the members' order.
func nodeStates(nodes []corev1.Node, members []member) (all bool, state string) {
	all = true
	states := make([]string, 0, len(members))
	for _, m := range members {
		i := slices.IndexFunc(nodes, func(n corev1.Node) bool { return n.Name == m.Name })
		s := "not registered"
		if i >= 0 {
			s = nodeState(nodes[i])
		}
		all = all && s == "Ready"
		states = append(states, m.Name+" "+s)
	}
	return all, strings.Join(states, ", ")
}

func nodeState(n corev1.Node) string {
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if c.Status == corev1.ConditionTrue {
			return "Ready"
		}
		return fmt.Sprintf("not Ready (%s: %s)", c.Reason, c.Message)
	}
	return "without status"
}

func assignPodCIDRs(ctx context.Context, c kubernetes.Interface, nodes []corev1.Node, members []member) error {
	for _, n := range nodes {
		i := slices.IndexFunc(members, func(m member) bool { return m.Name == n.Name })
		if i < 0 || n.Spec.PodCIDR != "" {
			continue
		}
		cidr := members[i].PodCIDR.String()
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{"podCIDR": cidr, "podCIDRs": []string{cidr}}})
		if err != nil {
			return fmt.Errorf("assign podCIDR of %s: %w", n.Name, err)
		}
		if _, err := c.CoreV1().Nodes().Patch(ctx, n.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("assign podCIDR of %s: %w", n.Name, err)
		}
	}
	return nil
}

// waitRegistered waits until every node is known to the API server and has its pod
// subnet: what a component that connects pods needs.
func waitRegistered(ctx context.Context, c kubernetes.Interface, members []member, progress func(string)) error {
	w := await.Wait{
		For: fmt.Sprintf("%d nodes to register", len(members)), Within: readyWait, Every: pollFast,
		Changed: func(s string) { progress("nodes: " + s) },
	}
	return await.Until(ctx, w, func(ctx context.Context) (bool, string, error) {
		list, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, "", err
		}
		known := 0
		for _, m := range members {
			if slices.ContainsFunc(list.Items, func(n corev1.Node) bool { return n.Name == m.Name }) {
				known++
			}
		}
		return known == len(members), fmt.Sprintf("%d of %d registered", known, len(members)), assignPodCIDRs(ctx, c, list.Items, members)
	})
}

// WaitNetwork waits until a component has connected the nodes: all are Ready and
// Services work on them.
func (c *Cluster) WaitNetwork(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.RESTConfig())
	if err != nil {
		return fmt.Errorf("wait for the network: %w", err)
	}
	members := make([]member, len(c.nodes))
	for i, n := range c.nodes {
		members[i] = member{Name: n.name}
	}
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("wait for the network: %w", err)
	}
	for _, n := range list.Items {
		if n.Spec.PodCIDR == "" {
			return fmt.Errorf("wait for the network: node %s has no podCIDR", n.Name)
		}
	}
	if err := waitReady(ctx, client, members, c.o.Progress); err != nil {
		return err
	}
	return c.WaitServices(ctx)
}

// WaitServices waits until the API server's Service address works on every node, that
// is until kube-proxy has programmed it. A pod that asks before that sends its SYN
// past every rule, and repeats it on the same port, along the same dead path, until
// its client gives up: MetalLB's controller was seen to lose 30 s that way.
func (c *Cluster) WaitServices(ctx context.Context) error {
	defer c.took("services work", time.Now())
	url, err := apiServiceURL(serviceSubnet(c.o.Scenario))
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range c.nodes {
		g.Go(func() error {
			w := await.Wait{For: "Services to work on " + n.name, Within: readyWait, Every: pollFast}
			return await.Until(ctx, w, func(ctx context.Context) (bool, string, error) {
				_, err := cluster.Output(ctx, n, "curl", "-sSk", "--max-time", "1", "--output", "/dev/null", url)
				return err == nil, "", err
			})
		})
	}
	return g.Wait()
}

// apiServiceURL is where the Service default/kubernetes is: the first address of the
// Service subnet. Any answer will do, a refusal too.
func apiServiceURL(subnet string) (string, error) {
	p, err := netip.ParsePrefix(subnet)
	if err != nil {
		return "", fmt.Errorf("read Service subnet: %w", err)
	}
	return "https://" + p.Masked().Addr().Next().String() + "/livez", nil
}

// excludeLabel keeps a node from being an announcer; kubeadm puts it on control planes.
const excludeLabel = "node.kubernetes.io/exclude-from-external-load-balancers"

// allowAnnouncing takes the label off.
func allowAnnouncing(ctx context.Context, c kubernetes.Interface, name string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{excludeLabel: nil}}})
	if err == nil {
		_, err = c.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	}
	if err != nil {
		return fmt.Errorf("remove label %s from %s: %w", excludeLabel, name, err)
	}
	return nil
}
