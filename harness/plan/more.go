// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan

import (
	"context"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/pace"
)

// deployMore makes the Services beside those under test, and notes how long it took until
// the API server had them, until each had an address, and until each was answered for by one node.
func (w *worker) deployMore(ctx context.Context) error {
	n := w.Scenario.Spec.LoadBalancer.MoreServices
	if n == 0 {
		return nil
	}
	w.progress("making %d more Services", n)
	within := w.Scenario.Spec.DataPlane.Programs() + w.Scenario.MoreWithin()
	begin := time.Now()
	if err := w.echo.ApplyMore(ctx, n); err != nil {
		return err
	}
	note := map[string]any{"what": "more Services", "services": n, "appliedMS": time.Since(begin).Milliseconds()}
	vips, err := w.echo.WaitMoreAssigned(ctx, n, within)
	if err := w.noted(ctx, err); err != nil { // a Service without a VIP is for the check to tell
		return err
	}
	note["assigned"], note["assignedMS"] = len(vips), time.Since(begin).Milliseconds()
	var addrs []string
	for _, a := range vips {
		addrs = append(addrs, a.String())
	}
	limited, cancel := context.WithTimeout(ctx, pace.Scale(ctx, firstWithin+within))
	defer cancel()
	silent, err := w.env.WaitAnswered(limited, addrs)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	note["answered"], note["answeredMS"] = len(addrs)-len(silent), time.Since(begin).Milliseconds()
	w.progress("%d more Services: %d assigned after %v ms, %d answered after %v ms", n, len(vips), note["assignedMS"], note["answered"], note["answeredMS"])
	return w.journal.Write(journal.KindNote, note)
}
