// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package preflight

import (
	"fmt"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// What a cluster of containers is made for: a kubelet, a containerd and their images on
// each node, and a pool in the part of its network that Docker gives to no container.
const (
	KindWorkers = 9
	KindPool    = 200
)

// CheckKindSize says whether a scenario is small enough for a cluster of containers.
func CheckKindSize(sc *scenario.Scenario) *journal.Unsupported {
	workers, pool := sc.Spec.Cluster.Workers, sc.Spec.LoadBalancer.PoolSize
	if workers <= KindWorkers && pool <= KindPool {
		return nil
	}
	return &journal.Unsupported{
		Missing: []string{fmt.Sprintf("%d workers and %d addresses: a cluster of containers has up to %d and %d", workers, pool, KindWorkers, KindPool)},
		Fix:     "Run it on namespaces: --provider netns",
	}
}
