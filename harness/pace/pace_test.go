// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package pace

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMeasure(t *testing.T) {
	took, err := Measure(t.Context(), 2)
	require.NoError(t, err)
	require.Positive(t, took)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Measure(ctx, 1)
	require.ErrorContains(t, err, "measure pace")
}

func TestScale(t *testing.T) {
	ctx := t.Context()
	require.Equal(t, time.Minute, Scale(ctx, time.Minute), "nobody has said that this machine is slow")
	require.Equal(t, 90*time.Second, Scale(With(ctx, 1.5), time.Minute))
	require.Equal(t, 3*time.Minute, Stretch(time.Minute, 3))
	require.Equal(t, time.Minute, Scale(With(ctx, 0.5), time.Minute), "a faster machine gets no less")
}

func TestRate(t *testing.T) {
	require.Equal(t, 300, Rate(t.Context(), 300), "an ordinary machine is asked as the scenario says")
	require.Equal(t, 75, Rate(With(t.Context(), 16), 300))
	require.Equal(t, 1, Rate(With(t.Context(), 1e6), 300))
}

func BenchmarkMeasure(b *testing.B) {
	for b.Loop() {
		if _, err := Measure(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
	}
}
