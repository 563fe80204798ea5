// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// noAdvertisement deletes every L2Advertisement.
type noAdvertisement struct {
	t     Target
	saved []unstructured.Unstructured
}

func (f *noAdvertisement) client() dynamic.ResourceInterface {
	gvr := schema.GroupVersionResource{Group: "metallb.io", Version: "v1beta1", Resource: "l2advertisements"}
	return f.t.Dynamic.Resource(gvr).Namespace(f.t.MetalLB)
}

func (f *noAdvertisement) names(ctx context.Context) ([]unstructured.Unstructured, string, error) {
	list, err := f.client().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("list L2Advertisements: %w", err)
	}
	var names []string
	for _, u := range list.Items {
		names = append(names, u.GetName())
	}
	return list.Items, strings.Join(names, ", "), nil
}

func (f *noAdvertisement) Apply(ctx context.Context) (string, error) {
	items, names, err := f.names(ctx)
	if err != nil {
		return "", err
	}
	if len(items) == 0 {
		return "", errors.New("delete L2Advertisements: there is none, so nothing would change")
	}
	f.saved = items
	for _, u := range items {
		if err := f.client().Delete(ctx, u.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return "", fmt.Errorf("delete L2Advertisement %s: %w", u.GetName(), err)
		}
	}
	return "deleted L2Advertisements " + names, nil
}

func (f *noAdvertisement) Verify(ctx context.Context, applied bool) (string, error) {
	items, names, err := f.names(ctx)
	switch {
	case err != nil:
		return "", err
	case applied && len(items) > 0:
		return "", fmt.Errorf("L2Advertisements %s are still there", names)
	case !applied && len(items) != len(f.saved):
		return "", fmt.Errorf("%d L2Advertisements of %d are there again", len(items), len(f.saved))
	}
	return fmt.Sprintf("%d L2Advertisements are listed", len(items)), nil
}

func (f *noAdvertisement) Undo(ctx context.Context) (string, error) {
	for _, u := range f.saved {
		fresh := u.DeepCopy()
		fresh.SetResourceVersion("")
		fresh.SetUID("")
		fresh.SetManagedFields(nil)
		fresh.SetCreationTimestamp(metav1.Time{})
		if _, err := f.client().Create(ctx, fresh, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return "", fmt.Errorf("create L2Advertisement %s: %w", u.GetName(), err)
		}
	}
	return fmt.Sprintf("created %d L2Advertisements", len(f.saved)), nil
}
