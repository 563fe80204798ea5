// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fault

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// secondAnnouncer makes Cilium announce the VIPs that MetalLB announces, by a policy of
// its L2 announcements. Cilium elects by lease and would often choose MetalLB's own
// node; the control plane, which MetalLB leaves out, never is.
type secondAnnouncer struct{ t Target }

const policyName = "lbmatrix-second-announcer"

func (f *secondAnnouncer) client() dynamic.ResourceInterface {
	return f.t.Dynamic.Resource(schema.GroupVersionResource{Group: "cilium.io", Version: "v2alpha1", Resource: "ciliuml2announcementpolicies"})
}

func (f *secondAnnouncer) Apply(ctx context.Context) (string, error) {
	node, err := f.t.controlPlane()
	if err != nil {
		return "", err
	}
	policy := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumL2AnnouncementPolicy",
		"metadata": map[string]any{"name": policyName},
		"spec": map[string]any{
			"loadBalancerIPs": true, "interfaces": []any{"^eth0$"},
			"nodeSelector": map[string]any{"matchLabels": map[string]any{"kubernetes.io/hostname": node.Name()}},
		},
	}}
	if _, err := f.client().Create(ctx, policy, metav1.CreateOptions{}); err != nil {
		return "", fmt.Errorf("create CiliumL2AnnouncementPolicy: %w", err)
	}
	return "CiliumL2AnnouncementPolicy " + policyName + " makes " + node.Name() + " announce every load-balancer address", nil
}

func (f *secondAnnouncer) Verify(ctx context.Context, applied bool) (string, error) {
	_, err := f.client().Get(ctx, policyName, metav1.GetOptions{})
	switch {
	case applied && err != nil:
		return "", fmt.Errorf("get CiliumL2AnnouncementPolicy: %w", err)
	case applied:
		return "the policy is there", nil
	case apierrors.IsNotFound(err):
		return "the policy is gone", nil
	case err != nil:
		return "", fmt.Errorf("get CiliumL2AnnouncementPolicy: %w", err)
	}
	return "", errors.New("the CiliumL2AnnouncementPolicy is still there")
}

func (f *secondAnnouncer) Undo(ctx context.Context) (string, error) {
	if err := f.client().Delete(ctx, policyName, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("delete CiliumL2AnnouncementPolicy: %w", err)
	}
	return "deleted the policy", nil
}
