// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/clientcmd/api"
)

func readyNode(name string, status corev1.ConditionStatus, message string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{excludeLabel: ""}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, Reason: "KubeletNotReady", Message: message}}},
	}
}

func TestWaitReady(t *testing.T) {
	members := []member{
		{Name: "a", PodCIDR: netip.MustParsePrefix("10.244.0.0/24")},
		{Name: "b", PodCIDR: netip.MustParsePrefix("10.244.1.0/24")},
	}
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientset(readyNode("a", corev1.ConditionTrue, ""))
		err := waitReady(t.Context(), c, members, func(string) {})
		require.EqualError(t, err, "wait for 2 nodes to be Ready: not within 3m0s; last seen: a Ready, b not registered")

		c = fake.NewClientset(readyNode("a", corev1.ConditionTrue, ""), readyNode("b", corev1.ConditionFalse, "no network"))
		require.ErrorContains(t, waitReady(t.Context(), c, members, func(string) {}), "b not Ready (KubeletNotReady: no network)")

		c = fake.NewClientset(readyNode("a", corev1.ConditionTrue, ""), readyNode("b", corev1.ConditionTrue, ""))
		require.NoError(t, waitReady(t.Context(), c, members, func(string) {}))
		b, err := c.CoreV1().Nodes().Get(t.Context(), "b", metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, "10.244.1.0/24", b.Spec.PodCIDR)

		require.NoError(t, allowAnnouncing(t.Context(), c, "a"))
		a, err := c.CoreV1().Nodes().Get(t.Context(), "a", metav1.GetOptions{})
		require.NoError(t, err)
		require.NotContains(t, a.Labels, excludeLabel)
	})
}

func TestDiscoveryHoldsNoCredentials(t *testing.T) {
	cfg := api.NewConfig()
	cfg.Clusters["c"] = &api.Cluster{Server: "https://c-control-plane:6443", CertificateAuthorityData: []byte("CA")}
	cfg.AuthInfos["admin"] = &api.AuthInfo{ClientKeyData: []byte("SECRET")}
	cfg.Contexts["x"] = &api.Context{Cluster: "c", AuthInfo: "admin"}
	cfg.CurrentContext = "x"
	out, err := discovery(cfg, "c-control-plane")
	require.NoError(t, err)
	require.Contains(t, string(out), "https://c-control-plane:6443")
	require.NotContains(t, string(out), "client-key-data")
	moved := redirect(cfg, "127.0.0.1:999")
	require.Equal(t, "https://127.0.0.1:999", moved.Clusters["c"].Server)
	require.Equal(t, "https://c-control-plane:6443", cfg.Clusters["c"].Server)
}
