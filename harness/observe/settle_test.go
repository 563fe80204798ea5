// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Healthy and crowded are not each other's opposite: a segment on which only some VIPs
// have several responders is neither.
func TestSegmentsThatAreWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		found            map[string][]string
		oneEach, crowded bool
	}{
		"healthy":       {map[string][]string{"v1": {"a"}, "v2": {"b"}}, true, false},
		"all crowded":   {map[string][]string{"v1": {"a", "b"}, "v2": {"a", "b", "c"}}, false, true},
		"some crowded":  {map[string][]string{"v1": {"a", "b"}, "v2": {"a"}}, false, false},
		"nobody":        {map[string][]string{"v1": {}, "v2": {}}, false, false},
		"no VIP at all": {map[string][]string{}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.oneEach, OneEach(c.found))
			require.Equal(t, c.crowded, Crowded(c.found))
		})
	}
}
