// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package component

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// Roles says what each Service that is not told by its traffic policy is for, by its name.
func Roles() map[string]string {
	return map[string]string{EchoNear: journal.RoleNear, EchoSticky: journal.RoleSticky, EchoIdle: journal.RoleIdle}
}

// pinnedService has no selector, for its endpoints are chosen by PinRemote or PinNear.
func pinnedService(name string) *corev1.Service {
	s := echoService(name, corev1.ServiceExternalTrafficPolicyCluster)
	s.Spec.Selector = nil
	return s
}

// PinEverywhere makes every ready backend an endpoint of EchoRemote and of EchoNear.
// Their endpoints are chosen once it is known who announces them.
func (e *Echo) PinEverywhere(ctx context.Context) error {
	for _, service := range []string{EchoRemote, EchoNear} {
		if _, err := e.pin(ctx, service, func(string) bool { return true }); err != nil {
			return err
		}
	}
	return nil
}

// PinRemote makes the ready backends on every node but off the endpoints of
// EchoRemote. Every request through its VIP then crosses from the announcer to another
// node: the path on which forwarding, SNAT and DSR differ. It returns how many there are.
func (e *Echo) PinRemote(ctx context.Context, off string) (int, error) {
	return e.pin(ctx, EchoRemote, func(node string) bool { return node != off })
}

// PinNear makes the ready backends on one node the endpoints of EchoNear: the mirror of
// PinRemote, for the path that ends on the announcer. It returns how many there are.
func (e *Echo) PinNear(ctx context.Context, on string) (int, error) {
	return e.pin(ctx, EchoNear, func(node string) bool { return node == on })
}

// pin makes the ready backends on the nodes to keep the endpoints of a Service.
func (e *Echo) pin(ctx context.Context, service string, keep func(node string) bool) (int, error) {
	pods, err := e.Client.CoreV1().Pods(EchoNamespace).List(ctx, metav1.ListOptions{LabelSelector: appLabel + "=" + EchoName})
	if err != nil {
		return 0, fmt.Errorf("pin backends of %s: %w", service, err)
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: service, Namespace: EchoNamespace, Labels: map[string]string{
			discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: managerName,
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{
			{Name: new(PortHTTP), Port: new(int32(httpPort)), Protocol: new(corev1.ProtocolTCP)},
			{Name: new(PortUDP), Port: new(int32(udpPort)), Protocol: new(corev1.ProtocolUDP)},
		},
	}
	for _, p := range pods.Items {
		if p.Status.PodIP == "" || !keep(p.Spec.NodeName) || !podReady(p) {
			continue
		}
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{p.Status.PodIP}, NodeName: new(p.Spec.NodeName),
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		})
	}
	if len(slice.Endpoints) == 0 {
		return 0, fmt.Errorf("pin backends of %s: no ready backend where they are to be", service)
	}
	client := e.Client.DiscoveryV1().EndpointSlices(EchoNamespace)
	err = e.patiently(ctx, "the endpoints of "+service, func(ctx context.Context) error {
		_, err := client.Create(ctx, slice, metav1.CreateOptions{FieldManager: managerName})
		if apierrors.IsAlreadyExists(err) {
			_, err = client.Update(ctx, slice, metav1.UpdateOptions{FieldManager: managerName})
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("pin backends of %s: %w", service, err)
	}
	return len(slice.Endpoints), nil
}

func podReady(p corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
