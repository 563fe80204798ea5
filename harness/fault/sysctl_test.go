// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fault_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/fault"
)

// node is a machine of nothing but settings.
type node struct {
	name         string
	controlPlane bool
	files        map[string]string
	readOnly     bool
}

func (n *node) Name() string                                            { return n.name }
func (n *node) ControlPlane() bool                                      { return n.controlPlane }
func (n *node) Interfaces(context.Context) ([]cluster.Interface, error) { return nil, nil }

func (n *node) Run(_ context.Context, c cluster.Command) error {
	switch {
	case c.Path == "cat" && len(c.Args) == 1:
		value, ok := n.files[c.Args[0]]
		if !ok {
			return &cluster.ExitError{Host: n.name, Path: c.Path, Code: 1, Stderr: "No such file"}
		}
		_, err := fmt.Fprintln(c.Stdout, value)
		return err
	case c.Path == "sh" && len(c.Args) == 5:
		if n.readOnly {
			return &cluster.ExitError{Host: n.name, Path: c.Path, Code: 1, Stderr: "Read-only file system"}
		}
		n.files[c.Args[4]] = c.Args[3]
		return nil
	}
	return errors.New("unexpected command")
}

const forward = "/proc/sys/net/ipv4/ip_forward"

func machines() ([]*node, fault.Target) {
	var all []*node
	t := fault.Target{}
	for i, name := range []string{"cp", "w1", "w2"} {
		n := &node{name: name, controlPlane: i == 0, files: map[string]string{
			forward: "1", "/proc/sys/net/ipv4/conf/all/arp_ignore": "1", "/proc/sys/net/ipv4/conf/all/arp_announce": "2",
			"/proc/sys/net/ipv4/conf/eth0/arp_ignore": "0", "/proc/sys/net/ipv4/conf/eth0/arp_announce": "0",
			"/proc/sys/net/ipv4/conf/eth0/proxy_arp": "0", "/proc/sys/net/ipv4/conf/eth0/proxy_arp_pvlan": "0",
		}}
		all, t.Nodes = append(all, n), append(t.Nodes, n)
	}
	t.Announcer = func(context.Context) (string, error) { return "w2", nil }
	return all, t
}

func TestSettingsGoBackToWhatTheyWere(t *testing.T) {
	for _, name := range []string{"ip-forward-off", "strict-arp-reverted", "proxy-arp"} {
		t.Run(name, func(t *testing.T) {
			nodes, target := machines()
			var before []map[string]string
			for _, n := range nodes {
				before = append(before, maps.Clone(n.files))
			}
			f, err := fault.New(name, target)
			require.NoError(t, err)
			_, err = f.Apply(t.Context())
			require.NoError(t, err)
			_, err = f.Verify(t.Context(), true)
			require.NoError(t, err)
			_, err = f.Verify(t.Context(), false)
			require.Error(t, err, "it is still there")
			switch name {
			case "ip-forward-off":
				require.Equal(t, "0", nodes[2].files[forward])
				require.Equal(t, "1", nodes[1].files[forward], "only the announcer")
			case "proxy-arp":
				for _, key := range []string{"proxy_arp", "proxy_arp_pvlan"} {
					require.Equal(t, "1", nodes[0].files["/proc/sys/net/ipv4/conf/eth0/"+key])
					require.Equal(t, "0", nodes[1].files["/proc/sys/net/ipv4/conf/eth0/"+key], "only the control plane")
				}
			default:
				for _, n := range nodes {
					require.Equal(t, "0", n.files["/proc/sys/net/ipv4/conf/all/arp_ignore"])
				}
			}
			_, err = f.Undo(t.Context())
			require.NoError(t, err)
			_, err = f.Verify(t.Context(), false)
			require.NoError(t, err)
			for i, n := range nodes {
				require.Equal(t, before[i], n.files)
			}
		})
	}
}

func TestFaultThatChangesNothingIsRefused(t *testing.T) {
	nodes, target := machines()
	nodes[2].files[forward] = "0"
	f, err := fault.New("ip-forward-off", target)
	require.NoError(t, err)
	_, err = f.Apply(t.Context())
	require.ErrorContains(t, err, "nothing would change")
}

func TestHalfAppliedFaultIsUndone(t *testing.T) {
	nodes, target := machines()
	nodes[1].readOnly = true
	f, err := fault.New("strict-arp-reverted", target)
	require.NoError(t, err)
	_, err = f.Apply(t.Context())
	require.ErrorContains(t, err, "Read-only")
	nodes[1].readOnly = false
	_, err = f.Undo(t.Context())
	require.NoError(t, err)
	require.Equal(t, "1", nodes[0].files["/proc/sys/net/ipv4/conf/all/arp_ignore"])
	require.Equal(t, "2", nodes[0].files["/proc/sys/net/ipv4/conf/all/arp_announce"])
}

func TestSecondAnnouncerComesAndGoes(t *testing.T) {
	policies := schema.GroupVersionResource{Group: "cilium.io", Version: "v2alpha1", Resource: "ciliuml2announcementpolicies"}
	_, target := machines()
	dyn := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{policies: "CiliumL2AnnouncementPolicyList"})
	target.Dynamic = dyn
	f, err := fault.New("two-announcers", target)
	require.NoError(t, err)
	_, err = f.Verify(t.Context(), true)
	require.Error(t, err)
	said, err := f.Apply(t.Context())
	require.NoError(t, err)
	require.Contains(t, said, "cp", "the node that MetalLB never elects")
	_, err = f.Verify(t.Context(), true)
	require.NoError(t, err)
	list, err := dyn.Resource(policies).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	_, err = f.Verify(t.Context(), false)
	require.ErrorContains(t, err, "still there")
	for range 2 { // the second time it is gone already
		_, err = f.Undo(t.Context())
		require.NoError(t, err)
	}
	_, err = f.Verify(t.Context(), false)
	require.NoError(t, err)
}

func TestOnlySilentFaultsAreNotWaitedFor(t *testing.T) {
	require.False(t, fault.ShowsOnSegment("ip-forward-off"))
	for _, name := range []string{"no-l2-advertisement", "strict-arp-reverted", "two-announcers"} {
		require.True(t, fault.ShowsOnSegment(name), name)
	}
	require.False(t, fault.ShowsOnSegment("no-such-fault"))
}

func TestOnlyTheMissingAdvertisementEndsInATakeover(t *testing.T) {
	for _, name := range append(fault.Names(), "no-such-fault") {
		require.Equal(t, name == "no-l2-advertisement", fault.TakesOver(name), name)
	}
}
