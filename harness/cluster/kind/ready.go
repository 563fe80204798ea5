// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

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
