// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The interval covers the quantile of a known distribution at least as often as it says,
// less four standard deviations of the simulation.
func TestQuantileIntervalCovers(t *testing.T) {
	const trials = 4000
	rng := rand.New(rand.NewPCG(3, 4))
	for _, tc := range []struct {
		n int
		q float64
	}{{40, 0.9}, {40, 0.5}, {20, 0.5}, {100, 0.9}} {
		covered := 0
		for range trials {
			values := make([]float64, tc.n)
			for i := range values {
				values[i] = rng.Float64()
			}
			slices.Sort(values)
			low, high := quantileInterval(values, tc.q)
			// Above the largest value nothing is known: it bounds what was seen.
			if low <= tc.q && (tc.q <= high || high == values[tc.n-1]) {
				covered++
			}
		}
		require.GreaterOrEqual(t, float64(covered)/trials, 0.95-0.014, "%+v", tc)
	}
	ranks := make([]int, 20)
	for i := range ranks {
		ranks[i] = i + 1
	}
	low, high := quantileInterval(ranks, 0.5)
	require.Equal(t, []int{6, 15}, []int{low, high}, "the ranks that tables give for the median of 20")
	low, high = quantileInterval([]int{7}, 0.9)
	require.Equal(t, []int{7, 7}, []int{low, high})
}
