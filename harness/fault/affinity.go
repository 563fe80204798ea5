// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fault

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// affinityOff takes the session affinity from the Service that has it.
type affinityOff struct {
	t       Target
	service journal.Service
	saved   map[string]any // the fields of its spec; nil where nothing was changed
}

func (f *affinityOff) Apply(ctx context.Context) (string, error) {
	s, err := f.t.service(ctx, journal.RoleSticky)
	if err != nil {
		return "", err
	}
	f.service = s
	u, err := services(f.t, s).Get(ctx, s.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("get service %s: %w", s.Name, err)
	}
	affinity, _, _ := unstructured.NestedString(u.Object, "spec", "sessionAffinity")
	if affinity != "ClientIP" {
		return "", fmt.Errorf("take the affinity from service %s: it has %q, so nothing would change", s.Name, affinity)
	}
	config, _, _ := unstructured.NestedMap(u.Object, "spec", "sessionAffinityConfig")
	f.saved = map[string]any{"sessionAffinity": affinity, "sessionAffinityConfig": config}
	if err := patch(ctx, f.t, f.service, map[string]any{"sessionAffinity": "None", "sessionAffinityConfig": nil}); err != nil {
		return "", err
	}
	return fmt.Sprintf("service %s: sessionAffinity None, was %s", s.Name, affinity), nil
}

func (f *affinityOff) Verify(ctx context.Context, applied bool) (string, error) {
	if f.service.Name == "" {
		return "", errors.New("verify the session affinity: nothing was changed")
	}
	u, err := services(f.t, f.service).Get(ctx, f.service.Name, metav1.GetOptions{})
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
	if err := patch(ctx, f.t, f.service, f.saved); err != nil {
		return "", err
	}
	return fmt.Sprintf("service %s: as it was", f.service.Name), nil
}
