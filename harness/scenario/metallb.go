// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import "golang.org/x/mod/semver"

// MetalLBStatuses is the first version of MetalLB with ServiceL2Status, and the first whose
// speakers look at node.kubernetes.io/exclude-from-external-load-balancers (its release
// notes).
const MetalLBStatuses = "v0.14.2"

// MetalLBBefore says whether the scenario's MetalLB is older than a version. Without one, or
// with a version that cannot be compared, it is not.
func (s Scenario) MetalLBBefore(version string) bool {
	for _, c := range s.Spec.Components {
		if c.Name == "metallb" && semver.IsValid(c.Version) {
			return semver.Compare(c.Version, version) < 0
		}
	}
	return false
}
