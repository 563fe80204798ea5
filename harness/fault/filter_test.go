// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fault_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/fault"
	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// router is a machine of nothing but addresses and nftables tables.
type router struct {
	name         string
	controlPlane bool
	addresses    []string
	tables       []string // as they were written
	links        []string
	noDummy      bool   // its kernel
	refuses      string // a command
	broken       bool
}

func (r *router) Name() string                                            { return r.name }
func (r *router) ControlPlane() bool                                      { return r.controlPlane }
func (r *router) Interfaces(context.Context) ([]cluster.Interface, error) { return nil, nil }

func (r *router) Run(_ context.Context, c cluster.Command) error {
	if r.broken {
		return &cluster.ExitError{Host: r.name, Path: c.Path, Code: 1, Stderr: "broken"}
	}
	switch line := c.Path + " " + strings.Join(c.Args, " "); {
	case line == "ip -o address show dev eth0":
		for _, a := range r.addresses {
			fmt.Fprintf(c.Stdout, "2: eth0    inet %s scope global eth0\n", a)
		}
	case line == "ip -o address show dev kube-ipvs0":
		for _, a := range r.addresses[1:] {
			fmt.Fprintf(c.Stdout, "9: kube-ipvs0    inet %s scope global kube-ipvs0\n", a)
		}
	case line == r.refuses:
		return &cluster.ExitError{Host: r.name, Path: c.Path, Code: 2, Stderr: "refused"}
	case strings.HasPrefix(line, "ip address add "):
		r.addresses = append(r.addresses, c.Args[2])
	case strings.HasPrefix(line, "ip address del "):
		r.addresses = slices.DeleteFunc(r.addresses, func(a string) bool { return a == c.Args[2] })
	case line == "ip -o link show":
		for i, l := range append([]string{"lo", "eth0@if7"}, r.links...) {
			fmt.Fprintf(c.Stdout, "%d: %s: <BROADCAST,NOARP> mtu 1500\n", i+1, l)
		}
	case strings.HasPrefix(line, "ip link add "):
		if c.Args[4] == "dummy" && r.noDummy {
			return &cluster.ExitError{Host: r.name, Path: c.Path, Code: 2, Stderr: "Error: Unknown device type."}
		}
		r.links = append(r.links, c.Args[2])
	case strings.HasPrefix(line, "ip link del "):
		r.links = slices.DeleteFunc(r.links, func(l string) bool { return l == c.Args[2] })
	case line == "nft list tables":
		for _, t := range r.tables {
			fmt.Fprintln(c.Stdout, strings.Join(strings.Fields(t)[:3], " "))
		}
	case strings.HasPrefix(line, "nft delete table ip "):
		r.tables = slices.DeleteFunc(r.tables, func(t string) bool { return strings.Fields(t)[2] == c.Args[3] })
	case strings.HasPrefix(line, "nft table ip "):
		r.tables = append(r.tables, c.Args[0])
	default:
		return errors.New("unexpected command " + line)
	}
	return nil
}

func routers() ([]*router, fault.Target) {
	var all []*router
	t := fault.Target{}
	for i, name := range []string{"cp", "w1", "w2"} {
		r := &router{name: name, controlPlane: i == 0, addresses: []string{fmt.Sprintf("192.0.2.%d/24", 10+i)}, tables: []string{"table ip kube-proxy { }"}}
		all, t.Nodes = append(all, r), append(t.Nodes, r)
	}
	t.Services = func(context.Context) ([]journal.Service, error) {
		return []journal.Service{
			{Name: "echo-cluster", ExternalTrafficPolicy: "Cluster", VIP: "192.0.2.40", UDPPort: 8082},
			{Name: "echo-idle", ExternalTrafficPolicy: "Local", VIP: "192.0.2.45", Role: journal.RoleIdle},
			{Name: "echo-local", ExternalTrafficPolicy: "Local", VIP: "192.0.2.41"},
			{Name: "echo-near", ExternalTrafficPolicy: "Cluster", VIP: "192.0.2.43", Role: journal.RoleNear},
			{Name: "echo-remote", ExternalTrafficPolicy: "Cluster", VIP: "192.0.2.42", BackendsOffAnnouncer: true},
			{Name: "echo-sticky", Namespace: "lbmatrix", ExternalTrafficPolicy: "Cluster", VIP: "192.0.2.44", Role: journal.RoleSticky},
		}, nil
	}
	t.Spare = func(context.Context) (string, error) { return "192.0.2.49", nil }
	return all, t
}

// cycle applies a fault, has it seen to be there, undoes it twice and has it seen to be gone.
func cycle(t *testing.T, f fault.Fault, there func()) {
	t.Helper()
	_, err := f.Apply(t.Context())
	require.NoError(t, err)
	_, err = f.Verify(t.Context(), true)
	require.NoError(t, err)
	_, err = f.Verify(t.Context(), false)
	require.Error(t, err, "it is still there")
	there()
	for range 2 { // the second time it is gone already
		_, err = f.Undo(t.Context())
		require.NoError(t, err)
	}
	_, err = f.Verify(t.Context(), false)
	require.NoError(t, err)
	_, err = f.Verify(t.Context(), true)
	require.Error(t, err, "it is gone")
}

func TestFiltersComeAndGo(t *testing.T) {
	for name, rule := range map[string]string{
		"udp-dropped":             "prerouting priority raw; policy accept; ip daddr 192.0.2.40 udp dport 8082 drop;",
		"large-datagrams-dropped": "prerouting priority raw; policy accept; ip daddr 192.0.2.42 udp length > 1408 drop;",
		"near-backends-cut":       "forward priority filter; policy accept; ct original ip daddr 192.0.2.43 drop;",
		"pods-cut-from-vip":       `prerouting priority raw; policy accept; iifname != "eth0" ip daddr 192.0.2.41 drop;`,
		"memberlist-blocked":      `prerouting priority raw; policy accept; iifname "eth0" meta l4proto { tcp, udp } th dport 7946 drop;`,
		"vip-throttled":           "forward priority filter; policy accept; ct original ip daddr 192.0.2.42 limit rate over 20 mbytes/second",
	} {
		t.Run(name, func(t *testing.T) {
			nodes, target := routers()
			f, err := fault.New(name, target)
			require.NoError(t, err)
			require.Equal(t, name == "memberlist-blocked", fault.ShowsOnSegment(name))
			cycle(t, f, func() {
				for _, n := range nodes {
					require.Contains(t, n.tables[1], rule)
				}
			})
			for _, n := range nodes {
				require.Equal(t, []string{"table ip kube-proxy { }"}, n.tables, "the data plane's own stays")
			}
		})
	}
}

func TestHalfAppliedFilterIsUndone(t *testing.T) {
	nodes, target := routers()
	nodes[2].broken = true
	f, err := fault.New("udp-dropped", target)
	require.NoError(t, err)
	_, err = f.Apply(t.Context())
	require.ErrorContains(t, err, "w2")
	nodes[2].broken = false
	_, err = f.Undo(t.Context())
	require.NoError(t, err)
	for _, n := range nodes {
		require.Len(t, n.tables, 1)
	}
}

func TestStrayAddresses(t *testing.T) {
	for name, address := range map[string]string{"stray-pool-address": "192.0.2.49/32", "stray-idle-vip": "192.0.2.45/32", "vip-on-another-host": "192.0.2.40/32"} {
		t.Run(name, func(t *testing.T) {
			nodes, target := routers()
			f, err := fault.New(name, target)
			require.NoError(t, err)
			cycle(t, f, func() {
				require.Contains(t, nodes[0].addresses, address)
				require.Len(t, nodes[1].addresses, 1)
			})
			require.Equal(t, []string{"192.0.2.10/24"}, nodes[0].addresses)
		})
	}
}

func TestAddressThatIsThereAlreadyIsNotTakenAway(t *testing.T) {
	nodes, target := routers()
	nodes[0].addresses = append(nodes[0].addresses, "192.0.2.49/32")
	f, err := fault.New("stray-pool-address", target)
	require.NoError(t, err)
	_, err = f.Apply(t.Context())
	require.ErrorContains(t, err, "nothing would change")
	_, err = f.Undo(t.Context())
	require.NoError(t, err)
	require.Contains(t, nodes[0].addresses, "192.0.2.49/32")
}

func TestServicesThatAreNotThereAreNamed(t *testing.T) {
	_, target := routers()
	target.Services = func(context.Context) ([]journal.Service, error) { return nil, nil }
	for _, name := range []string{"stray-idle-vip", "udp-dropped", "session-affinity-off", "vip-on-another-host", "ipvs-left-over", "local-endpoints-gone"} {
		f, err := fault.New(name, target)
		require.NoError(t, err)
		_, err = f.Apply(t.Context())
		require.ErrorContains(t, err, "no Service for the purpose", name)
		_, err = f.Undo(t.Context())
		require.NoError(t, err)
	}
}

func TestAffinityGoesAndComesBackAsItWas(t *testing.T) {
	services := schema.GroupVersionResource{Version: "v1", Resource: "services"}
	synctest.Test(t, func(t *testing.T) {
		_, target := routers()
		spec := map[string]any{"sessionAffinity": "ClientIP", "sessionAffinityConfig": map[string]any{"clientIP": map[string]any{"timeoutSeconds": int64(10800)}}}
		dyn := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{services: "ServiceList"},
			&unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "echo-sticky", "namespace": "lbmatrix"}, "spec": spec,
			}})
		target.Dynamic = dyn
		now := func() map[string]any {
			u, err := dyn.Resource(services).Namespace("lbmatrix").Get(t.Context(), "echo-sticky", metav1.GetOptions{})
			require.NoError(t, err)
			return u.Object["spec"].(map[string]any)
		}
		f, err := fault.New("session-affinity-off", target)
		require.NoError(t, err)
		cycle(t, f, func() { require.Equal(t, map[string]any{"sessionAffinity": "None"}, now()) })
		require.Equal(t, spec, now())
	})
}

func TestLinkThatAModeLeft(t *testing.T) {
	for _, noDummy := range []bool{false, true} {
		nodes, target := routers()
		for _, n := range nodes {
			n.noDummy = noDummy
		}
		f, err := fault.New("ipvs-left-over", target)
		require.NoError(t, err)
		cycle(t, f, func() {
			for _, n := range nodes {
				require.Equal(t, []string{"kube-ipvs0"}, n.links)
				require.Contains(t, n.addresses, "192.0.2.40/32")
			}
			gone := nodes[2].addresses
			nodes[2].addresses = gone[:1]
			_, err := f.Verify(t.Context(), true)
			require.ErrorContains(t, err, "does not have 192.0.2.40", "the link alone answers nothing")
			nodes[2].addresses = gone
		})
		for _, n := range nodes {
			require.Empty(t, n.links)
		}
	}
	nodes, target := routers()
	nodes[1].refuses = "ip address add 192.0.2.40/32 dev kube-ipvs0" // half-way
	f, err := fault.New("ipvs-left-over", target)
	require.NoError(t, err)
	_, err = f.Apply(t.Context())
	require.ErrorContains(t, err, "w1")
	_, err = f.Undo(t.Context())
	require.NoError(t, err)
	for _, n := range nodes {
		require.Empty(t, n.links)
	}

	nodes, target = routers()
	nodes[1].links = []string{"kube-ipvs0"}
	f, err = fault.New("ipvs-left-over", target)
	require.NoError(t, err)
	_, err = f.Apply(t.Context())
	require.ErrorContains(t, err, "there already")
	_, err = f.Undo(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"kube-ipvs0"}, nodes[1].links, "not ours to take away")
}

func TestEndpointsGoAndComeBack(t *testing.T) {
	services := schema.GroupVersionResource{Version: "v1", Resource: "services"}
	endpoints := schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
	synctest.Test(t, func(t *testing.T) {
		_, target := routers()
		dyn := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{services: "ServiceList", endpoints: "EndpointSliceList"},
			&unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "echo-local"},
				"spec": map[string]any{"selector": map[string]any{"app": "echo"}},
			}})
		target.Dynamic = dyn
		selector := func() map[string]any {
			obj, err := dyn.Tracker().Get(services, "", "echo-local") // a reactor may not ask the client
			require.NoError(t, err)
			return obj.(*unstructured.Unstructured).Object["spec"].(map[string]any)["selector"].(map[string]any)
		}
		// The endpoints follow the selector, a while later.
		var asked int
		dyn.PrependReactor("list", "endpointslices", func(a clienttesting.Action) (bool, runtime.Object, error) {
			require.Equal(t, "kubernetes.io/service-name=echo-local", a.(clienttesting.ListAction).GetListRestrictions().Labels.String())
			asked++
			var all []any
			if len(selector()) == 1 || asked == 2 {
				all = append(all, map[string]any{"addresses": []any{"10.244.1.2"}})
			}
			return true, &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList"}, Items: []unstructured.Unstructured{
				{Object: map[string]any{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": map[string]any{
					"name": "x", "labels": map[string]any{"kubernetes.io/service-name": "echo-local"},
				}, "endpoints": all}},
			}}, nil
		})
		f, err := fault.New("local-endpoints-gone", target)
		require.NoError(t, err)
		require.True(t, fault.ShowsOnSegment("local-endpoints-gone"))
		cycle(t, f, func() { require.Equal(t, map[string]any{"app": "echo", "lbmatrix.dev/nobody": "true"}, selector()) })
		require.Equal(t, map[string]any{"app": "echo"}, selector())
	})
}
