// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// observeNDP solicits the IPv6 VIP, and every node's own address, the positive control.
func observeNDP(ctx context.Context, e *Env, o *journal.Observation) error {
	observer, err := e.Cluster.Observer(ctx)
	if err != nil {
		return fmt.Errorf("reach the observer: %w", err)
	}
	vip, err := e.SixVIP(ctx)
	if err != nil {
		return err
	}
	targets := []journal.Target{{Name: vip, Service: e.Six, Kind: journal.TargetVIP, Address: vip, Stream: journal.StreamNDP}}
	for _, n := range e.Topology.Nodes {
		if n.Address6 == "" {
			return fmt.Errorf("node %s has no IPv6 address on the segment", n.Name)
		}
		targets = append(targets, journal.Target{Name: n.Name, Kind: journal.TargetNodeAddress, Address: n.Address6, Node: n.Name, Stream: journal.StreamNDP})
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	return e.ask(ctx, o, observer, journal.StreamNDP, targets, e.Scenario.Spec.Limits.ARPProbes)
}

// observeTraffic6 sends HTTP requests on new connections to the IPv6 VIP, from a client
// that has to resolve it anew.
func observeTraffic6(ctx context.Context, e *Env, o *journal.Observation) error {
	s, err := e.six(ctx)
	if err != nil {
		return err
	}
	vip := vipOf(*s)
	if vip == "" {
		return unassigned(o, e.Six)
	}
	targets := []journal.Target{{
		Name: e.Six, Service: e.Six, Kind: journal.TargetVIP, Protocol: "http", Address: hostPort(vip, int(s.Spec.Ports[0].Port)), Stream: journal.StreamHTTP6,
	}}
	client, err := e.freshClient(ctx)
	if err != nil {
		return err
	}
	return e.sentAll(ctx, o, client, journal.StreamHTTP6, targets)
}

// six reads the Service with an IPv6 VIP alone.
func (e *Env) six(ctx context.Context) (*corev1.Service, error) {
	s, err := e.Kube.CoreV1().Services(e.Namespace).Get(ctx, e.Six, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read service %s: %w", e.Six, err)
	}
	return s, nil
}

// SixVIP is the IPv6 address that it was assigned; "" where it was not.
func (e *Env) SixVIP(ctx context.Context) (string, error) {
	s, err := e.six(ctx)
	if err != nil {
		return "", err
	}
	return vipOf(*s), nil
}
