// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// programmed is how long a change of a Service may take to reach the tables of every node:
// kube-proxy collects changes for a second (minSyncPeriod), then writes.
const programmed = 3 * time.Second

// affinityOff takes the session affinity from the Service that has it.
type affinityOff struct {
	t       Target
	service journal.Service
	saved   map[string]any // the fields of its spec; nil where nothing was changed
}

func (f *affinityOff) client() dynamic.ResourceInterface {
	return f.t.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "services"}).Namespace(f.service.Namespace)
}

func (f *affinityOff) patch(ctx context.Context, spec map[string]any) error {
	raw, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return fmt.Errorf("encode patch of service %s: %w", f.service.Name, err)
	}
	if _, err := f.client().Patch(ctx, f.service.Name, types.MergePatchType, raw, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("patch service %s: %w", f.service.Name, err)
	}
	select {
	case <-time.After(programmed):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *affinityOff) Apply(ctx context.Context) (string, error) {
	s, err := f.t.service(ctx, journal.RoleSticky)
	if err != nil {
		return "", err
	}
	f.service = s
	u, err := f.client().Get(ctx, s.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("get service %s: %w", s.Name, err)
	}
	affinity, _, _ := unstructured.NestedString(u.Object, "spec", "sessionAffinity")
	if affinity != "ClientIP" {
		return "", fmt.Errorf("take the affinity from service %s: it has %q, so nothing would change", s.Name, affinity)
	}
	config, _, _ := unstructured.NestedMap(u.Object, "spec", "sessionAffinityConfig")
	f.saved = map[string]any{"sessionAffinity": affinity, "sessionAffinityConfig": config}
	if err := f.patch(ctx, map[string]any{"sessionAffinity": "None", "sessionAffinityConfig": nil}); err != nil {
		return "", err
	}
	return fmt.Sprintf("service %s: sessionAffinity None, was %s", s.Name, affinity), nil
}

func (f *affinityOff) Verify(ctx context.Context, applied bool) (string, error) {
	if f.service.Name == "" {
		return "", errors.New("verify the session affinity: nothing was changed")
	}
	u, err := f.client().Get(ctx, f.service.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("get service %s: %w", f.service.Name, err)
	}
	affinity, _, _ := unstructured.NestedString(u.Object, "spec", "sessionAffinity")
	if want := map[bool]string{true: "None", false: "ClientIP"}[applied]; affinity != want {
		return "", fmt.Errorf("service %s has sessionAffinity %s, not %s", f.service.Name, affinity, want)
	}
	return fmt.Sprintf("service %s has sessionAffinity %s", f.service.Name, affinity), nil
}

func (f *affinityOff) Undo(ctx context.Context) (string, error) {
	if f.saved == nil {
		return "nothing was changed", nil
	}
	if err := f.patch(ctx, f.saved); err != nil {
		return "", err
	}
	return fmt.Sprintf("service %s: as it was", f.service.Name), nil
}
