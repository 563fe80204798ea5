// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/pace"
	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// Answers asks once, by one HTTP request of the client on a new connection, whether
// somebody answers at an address. It is for the harness' own waits: no check is judged
// by it.
func (e *Env) Answers(ctx context.Context, addr netip.Addr, port int) (bool, error) {
	client, err := e.Cluster.Client(ctx)
	if err != nil {
		return false, fmt.Errorf("reach the client: %w", err)
	}
	var last lastLine
	err = client.Run(ctx, cluster.Command{
		Path: e.Probe, Stdout: &last,
		Args: []string{
			"load", "--stdin", "ignore", "--mode", probe.ModeHTTPNew, "--rate", "100", "--count", "1", "--timeout", pace.Scale(ctx, 200*time.Millisecond).String(),
			"--deadline", pace.Scale(ctx, 5*time.Second).String(), "--target", "vip=" + hostPort(addr.String(), port),
		},
	})
	if err != nil {
		return false, fmt.Errorf("ask for %s: %w", addr, err)
	}
	end, err := last.end()
	if err != nil {
		return false, fmt.Errorf("ask for %s: %w", addr, err)
	}
	var totals probe.LoadTotals
	if err := json.Unmarshal(end.Totals, &totals); err != nil {
		return false, fmt.Errorf("ask for %s: read the totals: %w", addr, err)
	}
	return totals.OK > 0, nil
}
