// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/pace"
)

// moreProbes is how often each VIP of more Services is asked for: one that answers 21 of
// 100 is seen with p >= 0.99 (1-0.79^20), and a thousand take 20 s.
const moreProbes = 20

// moreSettle bounds the wait until each of those VIPs has one responder.
const moreSettle = 30 * time.Second

// beside says whether a Service is one of those that are there beside those under test.
func (e *Env) beside(name string) bool { return e.More != "" && strings.HasPrefix(name, e.More) }

// passedOver says whether a Service has an observation of its own, and no part in the others.
func (e *Env) passedOver(name string) bool { return e.beside(name) || (e.Six != "" && name == e.Six) }

// allServices lists every Service of type LoadBalancer in the namespace under test.
func (e *Env) allServices(ctx context.Context) ([]corev1.Service, error) {
	list, err := e.Kube.CoreV1().Services(e.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	var out []corev1.Service
	for _, s := range list.Items {
		if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
			out = append(out, s)
		}
	}
	return out, nil
}

// vipOf is the address that a Service was assigned; "" where it was not.
func vipOf(s corev1.Service) string {
	vip := ""
	for _, in := range s.Status.LoadBalancer.Ingress {
		vip = in.IP
	}
	return vip
}

// observeMore broadcasts who-has for the VIP of every Service beside those under test,
// and for every node's own address, the positive control.
func observeMore(ctx context.Context, e *Env, o *journal.Observation) error {
	observer, err := e.Cluster.Observer(ctx)
	if err != nil {
		return fmt.Errorf("reach the observer: %w", err)
	}
	services, err := e.allServices(ctx)
	if err != nil {
		return err
	}
	var targets []journal.Target
	for _, s := range services {
		if vip := vipOf(s); e.beside(s.Name) {
			targets = append(targets, journal.Target{Name: vip, Service: s.Name, Kind: journal.TargetVIP, Address: vip, Stream: journal.StreamARP})
		}
	}
	targets = append(targets, e.nodeAddresses()...)
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, pace.Scale(ctx, moreSettle))
	defer cancel()
	if _, err := e.WaitAnswered(limited, addresses(targets)); err != nil {
		return err
	}
	return e.ask(ctx, o, observer, journal.StreamARP, targets, moreProbes)
}

// nodeAddresses are the targets that a sweep must hear: each node answers for its own.
func (e *Env) nodeAddresses() []journal.Target {
	var out []journal.Target
	for _, n := range e.Topology.Nodes {
		out = append(out, journal.Target{Name: n.Name, Kind: journal.TargetNodeAddress, Address: n.Address, Node: n.Name, Stream: journal.StreamARP})
	}
	return out
}

// addresses are those that targets have: a Service without a VIP leaves nothing to ask for.
func addresses(targets []journal.Target) []string {
	var out []string
	for _, t := range targets {
		if t.Address != "" {
			out = append(out, t.Address)
		}
	}
	return out
}

// WaitAnswered asks for addresses until one MAC alone has answered for each, or ctx ends; it
// returns those for which none or several did. It is for the harness' own waits: no check
// is judged by it.
func (e *Env) WaitAnswered(ctx context.Context, addrs []string) ([]string, error) {
	left := slices.Compact(slices.Sorted(slices.Values(addrs)))
	for len(left) > 0 {
		found, err := e.sweep(ctx, left, 1, time.Duration(len(left))*arpSpacing)
		if ctx.Err() != nil {
			return left, nil // they had their time
		}
		if err != nil {
			return left, err
		}
		left = slices.DeleteFunc(left, func(a string) bool { return len(found[a]) == 1 })
	}
	return nil, nil
}
