// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func TestMutationsThatAreChosen(t *testing.T) {
	sc := iptables(t)
	chosen := plan.Mutations{Only: []string{"udp-dropped", "strict-arp-reverted"}}
	skipped := map[string]string{}
	for _, p := range plan.Phases(sc, chosen.Of(sc)) {
		skipped[p.Name] = p.Skipped
	}
	require.Len(t, skipped, 11, "what was left out is told")
	require.Empty(t, skipped["baseline"])
	require.Empty(t, skipped["mutation/udp-dropped"])
	require.Empty(t, skipped["restored/udp-dropped"])
	require.Contains(t, skipped["mutation/ip-forward-off"], "ip-forward-off was left out")
	require.Contains(t, skipped["restored/ip-forward-off"], "left out")
	require.Equal(t, plan.Phases(sc, chosen), plan.Phases(sc, chosen.Of(sc)), "what a guest is told says the same")
	for _, p := range plan.Phases(sc, plan.Mutations{Only: []string{"strict-arp-reverted"}}.Of(sc))[1:] {
		require.Contains(t, p.Skipped, "was left out")
	}
	require.Equal(t, []string{
		"create", "install metallb", "deploy", "baseline", "mutation/udp-dropped", "restored/udp-dropped", "collect", "delete",
	}, plan.Steps(sc, chosen))

	require.Equal(t, plan.Mutations{Only: []string{"udp-dropped"}}, chosen.Of(sc))
	require.Equal(t, plan.Mutations{None: true}, plan.Mutations{Only: []string{"strict-arp-reverted"}}.Of(sc), "an empty list would be all of them")
	require.Equal(t, plan.Mutations{}, plan.Mutations{}.Of(sc))
	require.Equal(t, plan.Mutations{None: true}, plan.Mutations{None: true}.Of(sc))
}

func TestMutationsThatNobodyHas(t *testing.T) {
	all := []*scenario.Scenario{iptables(t)}
	for name, c := range map[string]struct {
		chosen plan.Mutations
		of     []*scenario.Scenario
		want   string
	}{
		"all":           {of: all},
		"none":          {chosen: plan.Mutations{None: true}, of: all},
		"one":           {chosen: plan.Mutations{Only: []string{"udp-dropped"}}, of: all},
		"misspelt":      {plan.Mutations{Only: []string{"udp-droped"}}, all, `did you mean "udp-dropped"?`},
		"another's":     {plan.Mutations{Only: []string{"udp-dropped", "strict-arp-reverted"}}, all, `"strict-arp-reverted"; allowed: ip-forward-off`},
		"there is none": {plan.Mutations{Only: []string{"udp-dropped"}}, []*scenario.Scenario{{}}, "the scenarios have no mutations"},
		"both":          {plan.Mutations{None: true, Only: []string{"udp-dropped"}}, all, "either some mutations, or none"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.chosen.Check(c.of)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}
