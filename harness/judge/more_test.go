// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
)

// crowded is a healthy cluster with n more Services, announced by its workers in turns.
func crowded(n int) *world {
	w := healthy()
	w.spec.Spec.LoadBalancer.MoreServices = n
	w.phases = []journal.PlannedPhase{{Name: journal.PhaseBaseline, Checks: judge.For(w.spec)}}
	for i := range n {
		vip := fmt.Sprintf("198.51.100.%d", i+1)
		w.more = append(w.more, vip)
		w.arp[vip] = map[string]int{mac(1 + i%2): 1}
	}
	return w
}

func TestMoreVIPs(t *testing.T) {
	const check = "baseline/more-vips-answered"
	require.NotContains(t, judge.For(healthy().spec), "more-vips-answered", "there are none")
	got := verdicts(t, crowded(9))
	for id, c := range got {
		require.Equal(t, judge.ResultPassed, c.Result, "%s: %s", id, c.Verdict.Message)
	}
	require.Equal(t, "each of 9 VIPs is answered by one MAC; 2 MACs announce up to 5 each", got[check].Verdict.Message)

	for name, tc := range map[string]struct {
		change    func(*world)
		code, say string
	}{
		"one is silent": {
			func(w *world) { w.arp[w.more[3]] = nil }, "responders=0",
			"1 of 9 VIPs are not answered by one node: 198.51.100.4 (echo-more-0004): nobody answers",
		},
		"all are silent":              {func(w *world) { w.silence(w.more...) }, "responders=0", "and 4 more"},
		"two answer for one":          {func(w *world) { w.arp[w.more[0]][mac(2)] = 1 }, "responders=2", mac(1) + " (worker), " + mac(2) + " (worker2)"},
		"a second one answers rarely": {func(w *world) { w.arp[w.more[0]][mac(2)] = 10 }, "responders=2", "worker2"},
		"one silent and one double": {
			func(w *world) { w.arp[w.more[1]], w.arp[w.more[0]][mac(2)] = nil, 1 }, "responders=0+2", "2 of 9",
		},
		"a stranger answers": {
			func(w *world) { w.arp[w.more[0]] = map[string]int{mac(77): 1} }, "foreign-responder", mac(77) + " (no node)",
		},
		"one lags behind":       {func(w *world) { w.arp[w.more[0]] = map[string]int{mac(1): 4} }, "unanswered", "5 of 20 broadcasts were answered"},
		"one is not quick":      {func(w *world) { w.arp[w.more[0]] = map[string]int{mac(1): 2} }, "ok", ""},
		"one has no VIP":        {func(w *world) { w.more[8] = "" }, "vip-unassigned", "echo-more-0009"},
		"one was not asked":     {func(w *world) { w.more = w.more[:8] }, "no-data", "8 VIPs were asked for, and the scenario has 9"},
		"frames were lost":      {func(w *world) { w.drops = 1 }, "no-data", "dropped 1 ARP frames"},
		"a node did not answer": {func(w *world) { w.arp[w.topology.Nodes[2].Address] = nil }, "no-data", "positive control"},
	} {
		t.Run(name, func(t *testing.T) {
			w := crowded(9)
			tc.change(w)
			v := verdicts(t, w)[check].Verdict
			require.Equal(t, tc.code, v.Code, v.Message)
			require.Contains(t, v.Message, tc.say)
		})
	}
}

func (w *world) silence(vips ...string) {
	for _, v := range vips {
		w.arp[v] = nil
	}
}
