// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func TestMetalLBBefore(t *testing.T) {
	for version, before := range map[string]bool{"v0.13.9": true, "v0.14.1": true, "v0.14.2": false, "v0.14.10": false, "v0.16.1": false, "v1.0.0": false, "": false} {
		sc := scenario.Scenario{Spec: scenario.Spec{Components: []scenario.Component{{Name: "cilium", Version: "v0.1.0"}, {Name: "metallb", Version: version}}}}
		require.Equal(t, before, sc.MetalLBBefore(scenario.MetalLBStatuses), version)
	}
	require.False(t, scenario.Scenario{}.MetalLBBefore(scenario.MetalLBStatuses))
}
