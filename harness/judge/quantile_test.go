// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The interval covers the quantile of a known distribution at least as often as it says,
// less four standard deviations of the simulation, however small the sample is.
func TestIntervalCovers(t *testing.T) {
	const trials = 4000
	rng := rand.New(rand.NewPCG(3, 4))
	for _, tc := range []struct {
		n int
		q float64
	}{{10, 0.9}, {20, 0.9}, {40, 0.9}, {40, 0.5}, {20, 0.5}, {100, 0.9}, {200, 0.55}} {
		covered := 0
		for range trials {
			values := make([]float64, tc.n)
			for i := range values {
				values[i] = rng.Float64()
			}
			if low, high := rankedOf(values).interval(tc.q); low <= tc.q && tc.q <= high {
				covered++
			}
		}
		require.GreaterOrEqual(t, float64(covered)/trials, 0.95-0.014, "%+v", tc)
	}
}

func TestIntervalRanks(t *testing.T) {
	ranks := make([]int64, 20)
	for i := range ranks {
		ranks[i] = int64(i + 1)
	}
	low, high := rankedOf(ranks).interval(0.5)
	require.Equal(t, []float64{6, 15}, []float64{low, high}, "the ranks that tables give for the median of 20")
	for _, n := range []int{10, 35} {
		_, j := quantileRanks(n, 0.9)
		require.Equal(t, n, j, "nothing bounds the p90 of %d from above", n)
	}
	_, j := quantileRanks(36, 0.9)
	require.Equal(t, 35, j)
	low, high = rankedOf([]int64{7}).interval(0.5)
	require.Equal(t, []float64{0, math.Inf(1)}, []float64{low, high})
	low, high = rankedOf([]float64(nil)).interval(0.5)
	require.Equal(t, []float64{0, math.Inf(1)}, []float64{low, high})
}
