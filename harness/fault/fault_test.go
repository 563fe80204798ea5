// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fault_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"

	"github.com/lbmatrix/lbmatrix/harness/fault"
)

var gvr = schema.GroupVersionResource{Group: "metallb.io", Version: "v1beta1", Resource: "l2advertisements"}

func advertisement(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement",
		"metadata": map[string]any{"name": name, "namespace": "metallb-system", "resourceVersion": "7", "uid": "u"},
		"spec":     map[string]any{"ipAddressPools": []any{"pool-" + name}},
	}}
}

func advertised(t *testing.T, objects ...runtime.Object) (fault.Target, func() map[string]any) {
	t.Helper()
	c := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{gvr: "L2AdvertisementList"}, objects...)
	return fault.Target{Dynamic: c, MetalLB: "metallb-system"}, func() map[string]any {
		list, err := c.Resource(gvr).Namespace("metallb-system").List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		out := map[string]any{}
		for _, u := range list.Items {
			out[u.GetName()] = u.Object["spec"]
		}
		return out
	}
}

func TestNoAdvertisementIsUndone(t *testing.T) {
	target, objects := advertised(t, advertisement("a"), advertisement("b"))
	before := objects()
	f, err := fault.New("no-l2-advertisement", target)
	require.NoError(t, err)

	_, err = f.Apply(t.Context())
	require.NoError(t, err)
	require.Empty(t, objects())
	_, err = f.Verify(t.Context(), true)
	require.NoError(t, err)
	_, err = f.Verify(t.Context(), false)
	require.Error(t, err, "it is not gone yet")

	_, err = f.Undo(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, objects())
	_, err = f.Verify(t.Context(), false)
	require.NoError(t, err)
	_, err = f.Verify(t.Context(), true)
	require.Error(t, err, "it is not there any more")
	_, err = f.Undo(t.Context())
	require.NoError(t, err, "undoing twice is harmless")
}

func TestNoAdvertisementNeedsOne(t *testing.T) {
	target, _ := advertised(t)
	f, err := fault.New("no-l2-advertisement", target)
	require.NoError(t, err)
	_, err = f.Apply(t.Context())
	require.ErrorContains(t, err, "nothing would change")
}

func TestRegistry(t *testing.T) {
	_, err := fault.New("no-such", fault.Target{})
	require.ErrorContains(t, err, "no-l2-advertisement")
	for _, n := range fault.Names() {
		require.NotEmpty(t, fault.Why(n))
	}
	require.Empty(t, fault.Why("no-such"))
}
