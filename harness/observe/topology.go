// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// Topology reads who is who on the segment. It is read after the backends run: pod
// gateways exist only from then on.
func Topology(ctx context.Context, e *Env) (journal.Topology, error) {
	segment, err := e.Cluster.Segment(ctx)
	if err != nil {
		return journal.Topology{}, fmt.Errorf("read the segment: %w", err)
	}
	t := journal.Topology{Subnet: segment.Subnet.String(), Pool: segment.First.String() + "-" + segment.Last.String()}
	if segment.Gateway.IsValid() {
		t.Gateway = segment.Gateway.String()
	}
	list, err := e.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return t, fmt.Errorf("list nodes: %w", err)
	}
	objects := map[string]corev1.Node{}
	for _, n := range list.Items {
		objects[n.Name] = n
	}
	nodes, err := e.Cluster.Nodes(ctx)
	if err != nil {
		return t, fmt.Errorf("list nodes: %w", err)
	}
	for _, n := range nodes {
		out, err := node(ctx, n, segment)
		if err != nil {
			return t, err
		}
		object, ok := objects[n.Name()]
		if !ok {
			return t, fmt.Errorf("node %s is not registered with the API server", n.Name())
		}
		_, out.ExcludedFromLB = object.Labels[corev1.LabelNodeExcludeBalancers]
		out.PodCIDR, out.ControlPlane = object.Spec.PodCIDR, n.ControlPlane()
		t.Nodes = append(t.Nodes, out)
	}
	if t.Client, err = member(ctx, segment, e.Cluster.Client); err != nil {
		return t, err
	}
	t.Observer, err = member(ctx, segment, e.Cluster.Observer)
	return t, err
}

func node(ctx context.Context, n cluster.Node, segment cluster.Segment) (journal.Node, error) {
	ifaces, err := n.Interfaces(ctx)
	if err != nil {
		return journal.Node{}, fmt.Errorf("list interfaces of %s: %w", n.Name(), err)
	}
	out := journal.Node{Member: journal.Member{Name: n.Name()}}
	for _, i := range ifaces {
		for _, a := range i.Addresses {
			switch {
			case a.Addr().IsLoopback():
			case out.Address == "" && segment.Subnet.Contains(a.Addr()):
				out.Interface, out.Address, out.MAC = i.Name, a.Addr().String(), i.MAC
			case out.Address6 == "" && segment.Subnet6.Contains(a.Addr()):
				out.Address6 = a.Addr().String()
			default:
				out.OtherAddresses = append(out.OtherAddresses, a.Addr().String())
			}
		}
	}
	if out.Address == "" || out.MAC == "" {
		return out, fmt.Errorf("node %s has no address in %s", n.Name(), segment.Subnet)
	}
	return out, nil
}

func member(ctx context.Context, segment cluster.Segment, get func(context.Context) (cluster.Host, error)) (journal.Member, error) {
	h, err := get(ctx)
	if err != nil {
		return journal.Member{}, err
	}
	ifaces, err := h.Interfaces(ctx)
	if err != nil {
		return journal.Member{}, fmt.Errorf("list interfaces of %s: %w", h.Name(), err)
	}
	out := journal.Member{Name: h.Name()}
	for _, i := range ifaces {
		for _, a := range i.Addresses {
			switch {
			case out.Address == "" && segment.Subnet.Contains(a.Addr()):
				out.Address, out.MAC = a.Addr().String(), i.MAC
			case out.Address6 == "" && segment.Subnet6.Contains(a.Addr()):
				out.Address6 = a.Addr().String()
			}
		}
	}
	if out.Address == "" {
		return journal.Member{}, fmt.Errorf("%s has no address in %s", h.Name(), segment.Subnet)
	}
	return out, nil
}
