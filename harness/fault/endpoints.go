// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fault

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lbmatrix/lbmatrix/harness/cluster/await"
	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// nobodysLabel is on no pod: a Service that selects it, too, has no endpoint.
const nobodysLabel = "lbmatrix.dev/nobody"

// endpointsWait bounds the time until a change of a selector is in the EndpointSlices.
const endpointsWait = 30 * time.Second

// noEndpoints takes its endpoints from the Service of policy Local, by a selector that no
// pod answers to.
type noEndpoints struct {
	t       Target
	service journal.Service
	had     int // endpoints
}

func (f *noEndpoints) Apply(ctx context.Context) (string, error) {
	s, err := f.t.service(ctx, policyLocal)
	if err != nil {
		return "", err
	}
	n, err := f.endpoints(ctx, s)
	if err != nil {
		return "", err
	}
	if n == 0 {
		return "", fmt.Errorf("take the endpoints from service %s: it has none, so nothing would change", s.Name)
	}
	f.service, f.had = s, n
	if err := patch(ctx, f.t, s, map[string]any{"selector": map[string]any{nobodysLabel: "true"}}); err != nil {
		return "", err
	}
	return fmt.Sprintf("service %s selects %s=true, too: it had %d endpoints", s.Name, nobodysLabel, n), nil
}

// endpoints counts the addresses in a Service's EndpointSlices.
func (f *noEndpoints) endpoints(ctx context.Context, s journal.Service) (int, error) {
	slices := f.t.Dynamic.Resource(schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"})
	list, err := slices.Namespace(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + s.Name})
	if err != nil {
		return 0, fmt.Errorf("list endpoint slices of service %s: %w", s.Name, err)
	}
	n := 0
	for _, item := range list.Items {
		endpoints, _, _ := unstructured.NestedSlice(item.Object, "endpoints")
		n += len(endpoints)
	}
	return n, nil
}

func (f *noEndpoints) Verify(ctx context.Context, applied bool) (string, error) {
	if f.service.Name == "" {
		return "", errors.New("verify the endpoints: nothing was changed")
	}
	n, want := 0, f.had
	if applied {
		want = 0
	}
	w := await.Wait{For: fmt.Sprintf("service %s to have %d endpoints", f.service.Name, want), Within: endpointsWait}
	err := await.Until(ctx, w, func(ctx context.Context) (bool, string, error) {
		var err error
		n, err = f.endpoints(ctx, f.service)
		return n == want, fmt.Sprintf("%d endpoints", n), err
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("service %s has %d endpoints", f.service.Name, n), nil
}

func (f *noEndpoints) Undo(ctx context.Context) (string, error) {
	if f.service.Name == "" {
		return "nothing was changed", nil
	}
	if err := patch(ctx, f.t, f.service, map[string]any{"selector": map[string]any{nobodysLabel: nil}}); err != nil {
		return "", err
	}
	return fmt.Sprintf("service %s selects what it did", f.service.Name), nil
}
