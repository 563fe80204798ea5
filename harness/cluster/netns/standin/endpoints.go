// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package standin

import (
	"context"
	"fmt"
	"net/netip"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// managedBy marks the EndpointSlices of this package.
const managedBy = "lbmatrix-standin"

// endpoints makes an EndpointSlice for each Service that selects pods, and each of its
// families.
func (a *Agent) endpoints(ctx context.Context) error {
	services, err := a.services.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list Services: %w", err)
	}
	choose := a.chooser()
	for _, s := range services {
		if len(s.Spec.Selector) == 0 {
			continue
		}
		chosen := choose(s)
		for _, family := range families(s) {
			if err := a.endpointsOf(ctx, s, family, chosen); err != nil {
				return err
			}
		}
	}
	return nil
}

// chooser chooses the running pods of Services, in an order that does not change. Many
// Services with one selector, which is what a thousand of them are, are one search.
func (a *Agent) chooser() func(*corev1.Service) []*corev1.Pod {
	running := map[string][]*corev1.Pod{} // by namespace
	for _, p := range a.known() {
		if obj, ok := p.running(); ok {
			running[obj.Namespace] = append(running[obj.Namespace], obj)
		}
	}
	for _, pods := range running {
		sort.Slice(pods, func(i, j int) bool { return pods[i].Name < pods[j].Name })
	}
	type choice struct{ namespace, selector string }
	made := map[choice][]*corev1.Pod{}
	return func(s *corev1.Service) []*corev1.Pod {
		selector := labels.SelectorFromSet(s.Spec.Selector)
		key := choice{s.Namespace, selector.String()}
		pods, ok := made[key]
		if !ok {
			for _, p := range running[s.Namespace] {
				if selector.Matches(labels.Set(p.Labels)) {
					pods = append(pods, p)
				}
			}
			made[key] = pods
		}
		return pods
	}
}

// families are a Service's. One that the API server has not told its own is of IPv4.
func families(s *corev1.Service) []corev1.IPFamily {
	if len(s.Spec.IPFamilies) == 0 {
		return []corev1.IPFamily{corev1.IPv4Protocol}
	}
	return s.Spec.IPFamilies
}

func (a *Agent) endpointsOf(ctx context.Context, s *corev1.Service, family corev1.IPFamily, chosen []*corev1.Pod) error {
	slice := sliceOf(s, family)
	for _, p := range chosen {
		if address := addressOf(p, family); address != "" {
			slice.Endpoints = append(slice.Endpoints, endpoint(p, address))
			slice.Ports = ports(s, p)
		}
	}
	key := s.Namespace + "/" + slice.Name
	last, made := a.slices[key]
	if made && equality.Semantic.DeepEqual(last, slice) {
		return nil
	}
	if !made && len(slice.Endpoints) == 0 {
		return nil
	}
	client := a.o.Client.DiscoveryV1().EndpointSlices(s.Namespace)
	write := func() error { _, err := client.Update(ctx, slice, metav1.UpdateOptions{}); return err }
	var err error
	if made {
		err = write()
	}
	if !made || apierrors.IsNotFound(err) { // or somebody has deleted it
		if _, err = client.Create(ctx, slice, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
			err = write() // the answer to an earlier try was lost
		}
	}
	if err != nil {
		return fmt.Errorf("write endpoints of Service %s/%s: %w", s.Namespace, s.Name, err)
	}
	a.slices[key] = slice
	return nil
}

func sliceOf(s *corev1.Service, family corev1.IPFamily) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.Name + "-standin-" + strings.ToLower(string(family)), Namespace: s.Namespace,
			Labels:          map[string]string{discoveryv1.LabelServiceName: s.Name, discoveryv1.LabelManagedBy: managedBy},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: s.Name, UID: s.UID}},
		},
		AddressType: discoveryv1.AddressType(family),
	}
}

// addressOf is a pod's address of a family; "" where it has none.
func addressOf(p *corev1.Pod, family corev1.IPFamily) string {
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil && a.Is6() == (family == corev1.IPv6Protocol) {
			return ip.IP
		}
	}
	return ""
}

func endpoint(p *corev1.Pod, address string) discoveryv1.Endpoint {
	ready := isReady(p)
	return discoveryv1.Endpoint{
		Addresses: []string{address}, NodeName: new(p.Spec.NodeName),
		Conditions: discoveryv1.EndpointConditions{Ready: new(ready), Serving: new(ready), Terminating: new(false)},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
	}
}

// ports are a Service's, as its pods number them.
func ports(s *corev1.Service, p *corev1.Pod) []discoveryv1.EndpointPort {
	var out []discoveryv1.EndpointPort
	for _, sp := range s.Spec.Ports {
		number, ok := portNumber(sp.TargetPort, p)
		if !ok {
			continue // no container has a port of that name
		}
		out = append(out, discoveryv1.EndpointPort{Name: new(sp.Name), Port: new(number), Protocol: new(sp.Protocol)})
	}
	return out
}

func portNumber(port intstr.IntOrString, p *corev1.Pod) (int32, bool) {
	if port.Type == intstr.Int {
		return port.IntVal, true
	}
	for _, c := range p.Spec.Containers {
		for _, cp := range c.Ports {
			if cp.Name == port.StrVal {
				return cp.ContainerPort, true
			}
		}
	}
	return 0, false
}
