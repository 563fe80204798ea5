// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStealRatio(t *testing.T) {
	require.InDelta(t, 0.25, cpuTime{all: 100, steal: 10}.stealRatio(cpuTime{all: 120, steal: 15}), 1e-9)
	require.Zero(t, cpuTime{}.stealRatio(cpuTime{}), "no /proc/stat")
	require.Zero(t, cpuTime{all: 10, steal: 5}.stealRatio(cpuTime{all: 20, steal: 4}), "the counter may step back")
	require.Positive(t, readCPU().all)
}
