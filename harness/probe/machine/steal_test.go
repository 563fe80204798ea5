// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package machine

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStealRatio(t *testing.T) {
	require.InDelta(t, 0.25, CPUTime{all: 100, steal: 10}.StealRatio(CPUTime{all: 120, steal: 15}), 1e-9)
	require.Zero(t, CPUTime{}.StealRatio(CPUTime{}), "no /proc/stat")
	require.Zero(t, CPUTime{all: 10, steal: 5}.StealRatio(CPUTime{all: 20, steal: 4}), "the counter may step back")
	require.Positive(t, ReadCPU().all)
}
