// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package component

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lbmatrix/lbmatrix/harness/cluster/await"
)

// assignWait bounds the time until a controller gives a Service its address.
const assignWait = 60 * time.Second

// Service is a Service of the workload with its addresses.
type Service struct {
	Name, Namespace string
	Policy          string // externalTrafficPolicy: Cluster or Local
	VIP             netip.Addr
	ClusterIP       netip.Addr
	Ports           map[string]Port // by name
	// HealthCheckNodePort is set for policy Local.
	HealthCheckNodePort int32
}

// Port is one port of a Service.
type Port struct {
	Protocol string // TCP or UDP
	Port     int32
	NodePort int32
}

// WaitAssigned waits until every Service has a VIP, and returns them by name. The error
// carries the Services' events: the controller says there why it assigns nothing.
func (e *Echo) WaitAssigned(ctx context.Context) (map[string]Service, error) {
	names := []string{EchoCluster, EchoLocal, EchoRemote, EchoNear, EchoSticky, EchoIdle}
	if e.Six {
		names = append(names, EchoSix)
	}
	w := await.Wait{For: "VIPs for " + strings.Join(names, ", "), Within: assignWait, Changed: e.Progress}
	found := map[string]Service{}
	err := await.Until(ctx, w, func(ctx context.Context) (bool, string, error) {
		all := true
		var states []string
		for _, name := range names {
			s, err := readService(ctx, e.Client, name)
			if err != nil {
				return false, "", err
			}
			found[name] = s
			all = all && s.VIP.IsValid()
			states = append(states, name+" "+orNone(s.VIP))
		}
		return all, strings.Join(states, ", "), nil
	})
	if timeout := (*await.TimeoutError)(nil); errors.As(err, &timeout) {
		err = fmt.Errorf("%w; events: %s", err, serviceEvents(ctx, e.Client))
	}
	return found, err
}

// moreEvery is between two lists of many Services: a thousand are megabytes, which the API
// server writes on the processors that the load balancer wants.
const moreEvery = time.Second

// WaitMoreAssigned waits until n Services beside those under test have an address, and
// returns them in the order of their names. When they take longer than those under test may,
// and within more, it returns those that have one, and an error.
func (e *Echo) WaitMoreAssigned(ctx context.Context, n int, within time.Duration) ([]netip.Addr, error) {
	w := await.Wait{For: fmt.Sprintf("VIPs for %d more Services", n), Within: assignWait + within, Every: moreEvery, Changed: e.Progress}
	var vips []netip.Addr
	err := await.Until(ctx, w, func(ctx context.Context) (bool, string, error) {
		list, err := e.Client.CoreV1().Services(EchoNamespace).List(ctx, metav1.ListOptions{LabelSelector: moreLabel})
		if err != nil {
			return false, "", err
		}
		vips = vips[:0]
		for _, s := range list.Items {
			if a := vipOf(s); a.IsValid() {
				vips = append(vips, a)
			}
		}
		return len(vips) == n, fmt.Sprintf("%d of %d have one", len(vips), n), nil
	})
	return vips, err
}

func readService(ctx context.Context, c kubernetes.Interface, name string) (Service, error) {
	s, err := c.CoreV1().Services(EchoNamespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return Service{}, err
	}
	out := Service{
		Name: s.Name, Namespace: s.Namespace, Policy: string(s.Spec.ExternalTrafficPolicy),
		Ports: map[string]Port{}, HealthCheckNodePort: s.Spec.HealthCheckNodePort,
	}
	for _, p := range s.Spec.Ports {
		out.Ports[p.Name] = Port{Protocol: string(p.Protocol), Port: p.Port, NodePort: p.NodePort}
	}
	if a, err := netip.ParseAddr(s.Spec.ClusterIP); err == nil {
		out.ClusterIP = a
	}
	out.VIP = vipOf(*s)
	return out, nil
}

// vipOf is the address of its first family that a Service was assigned; none where it was not.
func vipOf(s corev1.Service) netip.Addr {
	six := len(s.Spec.IPFamilies) > 0 && s.Spec.IPFamilies[0] == corev1.IPv6Protocol
	var vip netip.Addr
	for _, i := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(i.IP); err == nil && a.Is6() == six {
			vip = a
		}
	}
	return vip
}

func orNone(a netip.Addr) string {
	if !a.IsValid() {
		return "without VIP"
	}
	return a.String()
}

// serviceEvents lists what was said about the Services, newest last.
func serviceEvents(ctx context.Context, c kubernetes.Interface) string {
	list, err := c.CoreV1().Events(EchoNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "could not be read: " + err.Error()
	}
	slices.SortFunc(list.Items, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	var out []string
	for _, ev := range list.Items {
		if ev.InvolvedObject.Kind == "Service" {
			out = append(out, fmt.Sprintf("%s %s: %s", ev.InvolvedObject.Name, ev.Reason, ev.Message))
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, "; ")
}
