// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// observeAnnouncement asks the API server and every speaker who announces what.
func observeAnnouncement(ctx context.Context, e *Env, o *journal.Observation) error {
	objs, err := e.objects(ctx)
	if err != nil {
		return err
	}
	if err := o.Write(journal.KindObjects, objs); err != nil {
		return err
	}
	speakers, err := e.speakers(ctx)
	if err != nil {
		return err
	}
	nodes, err := e.Cluster.Nodes(ctx)
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	// All speakers take the same one, and those that ask for none need none.
	token := sync.OnceValues(func() (string, error) { return e.metricsToken(ctx) })
	for _, p := range speakers {
		if err := o.Write(journal.KindSpeakerMetrics, speakerMetrics(ctx, nodes, p, token)); err != nil {
			return err
		}
	}
	return nil
}

// objects reads everything that the API server knows of the announcement.
func (e *Env) objects(ctx context.Context) (journal.Objects, error) {
	var objs journal.Objects
	err := errors.Join(
		e.services(ctx, &objs), e.backends(ctx, &objs), e.events(ctx, &objs),
		e.pools(ctx, &objs), e.advertisements(ctx, &objs), e.statuses(ctx, &objs),
	)
	return objs, err
}

func (e *Env) services(ctx context.Context, objs *journal.Objects) error {
	all, err := e.allServices(ctx)
	if err != nil {
		return err
	}
	for _, s := range all {
		if e.passedOver(s.Name) {
			continue
		}
		out := journal.Service{
			Name: s.Name, VIP: vipOf(s), Namespace: s.Namespace, ExternalTrafficPolicy: string(s.Spec.ExternalTrafficPolicy),
			HealthCheckNodePort:  int(s.Spec.HealthCheckNodePort),
			BackendsOffAnnouncer: s.Name == e.Remote, Role: e.Roles[s.Name], SessionAffinity: string(s.Spec.SessionAffinity),
		}
		for _, p := range s.Spec.Ports {
			switch p.Protocol {
			case corev1.ProtocolTCP:
				out.Port, out.NodePort = int(p.Port), int(p.NodePort)
			case corev1.ProtocolUDP:
				out.UDPPort = int(p.Port)
			}
		}
		objs.Services = append(objs.Services, out)
	}
	return nil
}

// backends lists the ready endpoints of every Service.
func (e *Env) backends(ctx context.Context, objs *journal.Objects) error {
	list, err := e.Kube.DiscoveryV1().EndpointSlices(e.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list endpoint slices: %w", err)
	}
	for _, s := range list.Items {
		if e.passedOver(s.Labels[discoveryv1.LabelServiceName]) {
			continue
		}
		for _, ep := range s.Endpoints {
			if ep.Conditions.Ready != nil && !*ep.Conditions.Ready || len(ep.Addresses) == 0 {
				continue
			}
			objs.Backends = append(objs.Backends, backend(s, ep))
		}
	}
	return nil
}

func backend(s discoveryv1.EndpointSlice, ep discoveryv1.Endpoint) journal.Backend {
	b := journal.Backend{Service: s.Labels[discoveryv1.LabelServiceName], Address: ep.Addresses[0]}
	if ep.TargetRef != nil {
		b.Pod = ep.TargetRef.Name
	}
	if ep.NodeName != nil {
		b.Node = *ep.NodeName
	}
	return b
}

func (e *Env) events(ctx context.Context, objs *journal.Objects) error {
	list, err := e.Kube.CoreV1().Events(e.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Service"})
	if err != nil {
		return fmt.Errorf("list events: %w", err)
	}
	for _, ev := range list.Items {
		if e.passedOver(ev.InvolvedObject.Name) {
			continue
		}
		last := ev.LastTimestamp.Time
		if last.IsZero() {
			last = ev.EventTime.Time
		}
		objs.Events = append(objs.Events, journal.Event{
			Service: ev.InvolvedObject.Name, Reason: ev.Reason, Message: ev.Message, Count: int(ev.Count), Last: last,
		})
	}
	return nil
}

func metallbResource(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "metallb.io", Version: "v1beta1", Resource: resource}
}

func (e *Env) list(ctx context.Context, resource string) ([]unstructured.Unstructured, error) {
	list, err := e.Dynamic.Resource(metallbResource(resource)).Namespace(e.MetalLB).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", resource, err)
	}
	return list.Items, nil
}

func (e *Env) pools(ctx context.Context, objs *journal.Objects) error {
	items, err := e.list(ctx, "ipaddresspools")
	for _, u := range items {
		addresses, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "addresses")
		objs.Pools = append(objs.Pools, journal.Pool{Name: u.GetName(), Addresses: addresses, Labels: u.GetLabels()})
	}
	return err
}

func (e *Env) advertisements(ctx context.Context, objs *journal.Objects) error {
	items, err := e.list(ctx, "l2advertisements")
	for _, u := range items {
		pools, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "ipAddressPools")
		ifaces, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "interfaces")
		objs.L2Advertisements = append(objs.L2Advertisements, journal.L2Advertisement{
			Name: u.GetName(), Pools: pools, Interfaces: ifaces,
			PoolSelectors: rawField(u, "ipAddressPoolSelectors"), NodeSelectors: rawField(u, "nodeSelectors"),
		})
	}
	return err
}

func (e *Env) statuses(ctx context.Context, objs *journal.Objects) error {
	items, err := e.list(ctx, "servicel2statuses")
	if apierrors.IsNotFound(err) { // no such resource: MetalLB has it from 0.14.2 on
		objs.NoL2Statuses = true
		return nil
	}
	for _, u := range items {
		if e.passedOver(u.GetLabels()["metallb.io/service-name"]) {
			continue
		}
		node, _, _ := unstructured.NestedString(u.Object, "status", "node")
		objs.L2Statuses = append(objs.L2Statuses, journal.L2Status{
			Service:   u.GetLabels()["metallb.io/service-name"],
			Namespace: u.GetLabels()["metallb.io/service-namespace"],
			Node:      node,
		})
	}
	return err
}

// rawField keeps a part of a spec as it is, nil where there is none.
func rawField(u unstructured.Unstructured, field string) json.RawMessage {
	v, ok, err := unstructured.NestedFieldNoCopy(u.Object, "spec", field)
	if !ok || err != nil {
		return nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return raw
}
