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

// Answers asks once, by one HTTP request on a new connection, whether somebody answers at
// an address. It is for the harness' own waits: no check is judged by it.
//
// The observer asks, never the client. A SYN to a VIP that a node does not know yet is
// tracked there without a translation, for two minutes (nf_conntrack_tcp_timeout_syn_sent),
// and a later connection from the same port to the same VIP goes that way into nowhere: of
// the thousands that the client makes, one in some four runs did.
func (e *Env) Answers(ctx context.Context, addr netip.Addr, port int) (bool, error) {
	observer, err := e.Cluster.Observer(ctx)
	if err != nil {
		return false, fmt.Errorf("reach the observer: %w", err)
	}
	var last lastLine
	err = observer.Run(ctx, cluster.Command{
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
