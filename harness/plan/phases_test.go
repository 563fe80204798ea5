// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/fault"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

func iptables(t *testing.T) *scenario.Scenario {
	t.Helper()
	sc, err := scenarios.Get("kube-proxy-iptables-metallb-l2", scenario.Options{Mutations: fault.Names(), Checks: judge.IDs()})
	require.NoError(t, err)
	return sc
}

// TestCommittedScenariosFitTheCatalogue holds scenarios to real checks, mutations and codes.
func TestCommittedScenariosFitTheCatalogue(t *testing.T) {
	all, err := scenarios.All(scenario.Options{Mutations: fault.Names(), Checks: judge.IDs()})
	require.NoError(t, err)
	require.NotEmpty(t, all)
	for _, sc := range all {
		for _, phase := range plan.Phases(sc, plan.Mutations{}) {
			for _, e := range phase.Expect {
				require.Contains(t, phase.Checks, e.Check, "%s %s: the check does not apply to the scenario", sc.Metadata.Name, phase.Name)
				check, _ := judge.Lookup(e.Check)
				require.True(t, slices.ContainsFunc(check.Codes, func(pattern string) bool {
					// N is a number, MODE a word.
					re := regexp.QuoteMeta(pattern)
					re = regexp.MustCompile(`\bN\b|\bM\b`).ReplaceAllString(re, "[0-9]+")
					re = strings.ReplaceAll(re, "MODE", "[a-z]+")
					return regexp.MustCompile("^" + re + "$").MatchString(e.Code)
				}), "%s %s: check %s never gives the code %s", sc.Metadata.Name, phase.Name, e.Check, e.Code)
				for _, c := range e.Consequences {
					require.Contains(t, phase.Checks, c, "%s %s", sc.Metadata.Name, phase.Name)
				}
			}
		}
	}
}

func TestPhases(t *testing.T) {
	phases := plan.Phases(iptables(t), plan.Mutations{})
	require.Len(t, phases, 11)
	require.Equal(t, "baseline", phases[0].Name)
	require.Equal(t, judge.For(*iptables(t)), phases[0].Checks)
	require.Equal(t, "mutation/no-l2-advertisement", phases[1].Name)
	require.Equal(t, "restored/no-l2-advertisement", phases[2].Name)
	require.Equal(t, append(slices.Clone(phases[1].Checks), "gratuitous-on-takeover"), phases[2].Checks, "what was broken is proved again")
	require.NotContains(t, phases[0].Checks, "gratuitous-on-takeover", "nobody takes over a healthy VIP")
	require.Equal(t, phases[3].Checks, phases[4].Checks, "who does not forward keeps its VIPs")
	require.Contains(t, phases[1].Checks, "single-responder")
	require.NotContains(t, phases[1].Checks, "connect-latency")
	require.Len(t, phases[1].Expect, 2)
	require.Empty(t, phases[2].Expect)
	skipped := plan.Phases(iptables(t), plan.Mutations{None: true})
	require.Len(t, skipped, len(phases), "what was left out is told")
	require.Empty(t, skipped[0].Skipped)
	for _, p := range skipped[1:] {
		require.Contains(t, p.Skipped, "--skip-mutations")
	}
	require.NotContains(t, plan.Steps(iptables(t), plan.Mutations{None: true}), "mutation/no-l2-advertisement")
}

func TestSteps(t *testing.T) {
	require.Equal(t, []string{
		"create", "install metallb", "deploy", "baseline", "mutation/no-l2-advertisement",
		"restored/no-l2-advertisement", "mutation/ip-forward-off", "restored/ip-forward-off",
		"mutation/stray-pool-address", "restored/stray-pool-address",
		"mutation/udp-dropped", "restored/udp-dropped", "mutation/large-datagrams-dropped", "restored/large-datagrams-dropped",
		"collect", "delete",
	}, plan.Steps(iptables(t), plan.Mutations{}))
}

func TestConfigRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), plan.ConfigFile)
	want := plan.Config{Scenario: iptables(t), RunID: "abc", Keep: plan.KeepOnFailure, Charts: map[string]string{"metallb": "/x"}}
	require.NoError(t, plan.WriteConfig(path, want))
	got, err := plan.ReadConfig(path)
	require.NoError(t, err)
	require.Equal(t, want, got)
	a, err := want.Scenario.Digest()
	require.NoError(t, err)
	b, err := got.Scenario.Digest()
	require.NoError(t, err)
	require.Equal(t, a, b)
}

func TestParseKeep(t *testing.T) {
	k, err := plan.ParseKeep("on-failure")
	require.NoError(t, err)
	require.Equal(t, plan.KeepOnFailure, k)
	_, err = plan.ParseKeep("maybe")
	require.Error(t, err)
}
