// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package sweep

import (
	"context"
	"time"
)

// due is when target i of n is asked in a round, from the start of the sweep. A
// function of the number alone: a late probe does not delay the later ones.
func due(round, i, n int, interval time.Duration) time.Duration {
	return time.Duration(round)*interval + time.Duration(i)*interval/time.Duration(n)
}

// sleepUntil returns the context's cause when that ends first.
func sleepUntil(ctx context.Context, at time.Time) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	wait := time.Until(at)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
