// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// written is how long a change of a Service may take to reach the tables of every node once
// kube-proxy may write it (Target.Programs).
const written = 2 * time.Second

func services(t Target, s journal.Service) dynamic.ResourceInterface {
	return t.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "services"}).Namespace(s.Namespace)
}

// patch merges into a Service's spec, and waits until every node may know.
func patch(ctx context.Context, t Target, s journal.Service, spec map[string]any) error {
	raw, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return fmt.Errorf("encode patch of service %s: %w", s.Name, err)
	}
	if _, err := services(t, s).Patch(ctx, s.Name, types.MergePatchType, raw, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("patch service %s: %w", s.Name, err)
	}
	select {
	case <-time.After(t.Programs + written):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
