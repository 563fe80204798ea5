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
)

// remoteService is EchoRemote: it has no selector, for its endpoints are chosen by
// PinRemote.
func remoteService() *corev1.Service {
	s := echoService(EchoRemote, corev1.ServiceExternalTrafficPolicyCluster)
	s.Spec.Selector = nil
	return s
}

// PinRemote makes the ready backends on every node but off the endpoints of
// EchoRemote; all of them when off is "". Every request through its VIP then crosses
// from the announcer to another node: the path on which forwarding, SNAT and DSR
// differ. It returns how many there are.
func (e *Echo) PinRemote(ctx context.Context, off string) (int, error) {
	pods, err := e.Client.CoreV1().Pods(EchoNamespace).List(ctx, metav1.ListOptions{LabelSelector: appLabel + "=" + EchoName})
	if err != nil {
		return 0, fmt.Errorf("pin backends of %s: %w", EchoRemote, err)
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: EchoRemote, Namespace: EchoNamespace, Labels: map[string]string{
			discoveryv1.LabelServiceName: EchoRemote, discoveryv1.LabelManagedBy: managerName,
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{
			{Name: new(PortHTTP), Port: new(int32(httpPort)), Protocol: new(corev1.ProtocolTCP)},
			{Name: new(PortUDP), Port: new(int32(udpPort)), Protocol: new(corev1.ProtocolUDP)},
		},
	}
	for _, p := range pods.Items {
		if p.Status.PodIP == "" || p.Spec.NodeName == off || !podReady(p) {
			continue
		}
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{p.Status.PodIP}, NodeName: new(p.Spec.NodeName),
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		})
	}
	if len(slice.Endpoints) == 0 {
		return 0, fmt.Errorf("pin backends of %s: no ready backend outside node %q", EchoRemote, off)
	}
	client := e.Client.DiscoveryV1().EndpointSlices(EchoNamespace)
	_, err = client.Create(ctx, slice, metav1.CreateOptions{FieldManager: managerName})
	if apierrors.IsAlreadyExists(err) {
		_, err = client.Update(ctx, slice, metav1.UpdateOptions{FieldManager: managerName})
	}
	if err != nil {
		return 0, fmt.Errorf("pin backends of %s: %w", EchoRemote, err)
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
