// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func TestProviderIsChosen(t *testing.T) {
	answers := daemons{find: func(context.Context) (*docker.Client, error) { return &docker.Client{Host: "unix:///d"}, nil }}
	none := daemons{find: func(context.Context) (*docker.Client, error) { return nil, fmt.Errorf("%w: tried", docker.ErrNoDaemon) }}
	named := daemons{find: none.find, named: true}
	for name, tc := range map[string]struct {
		asked, needs string
		cni          scenario.CNI
		from         daemons
		want, why    string // want "" is an error that says why
	}{
		"a daemon answers":              {ProviderAuto, scenario.ProviderAny, scenario.CNIStatic, answers, "kind", "answers at unix:///d"},
		"no daemon":                     {ProviderAuto, scenario.ProviderAny, scenario.CNIStatic, none, "netns", "no Docker daemon"},
		"a named daemon does not":       {ProviderAuto, scenario.ProviderAny, scenario.CNIStatic, named, "", "no docker daemon"},
		"asked for, daemon or not":      {"netns", scenario.ProviderAny, scenario.CNIStatic, answers, "netns", "--provider"},
		"asked for kind, none":          {"kind", scenario.ProviderAny, scenario.CNIStatic, none, "", "no docker daemon"},
		"asked for kind":                {"kind", scenario.ProviderAny, scenario.CNIStatic, answers, "kind", "--provider"},
		"needs netns, daemon or not":    {ProviderAuto, scenario.ProviderNetns, scenario.CNIStatic, answers, "netns", "the scenario needs it"},
		"needs kind, none":              {ProviderAuto, scenario.ProviderKind, scenario.CNIStatic, none, "", "make matrix"},
		"needs kind, asked for netns":   {"netns", scenario.ProviderKind, scenario.CNIStatic, answers, "", "it needs a cluster of provider kind"},
		"Cilium needs kind, says none":  {"netns", scenario.ProviderAny, scenario.CNICilium, answers, "", "make matrix"},
		"Cilium where no daemon is":     {ProviderAuto, scenario.ProviderAny, scenario.CNICilium, none, "", "it needs a cluster of provider kind"},
		"needs netns, asked for kind":   {"kind", scenario.ProviderNetns, scenario.CNIStatic, answers, "", "it needs a cluster of provider netns"},
		"Cilium where a daemon answers": {ProviderAuto, scenario.ProviderAny, scenario.CNICilium, answers, "kind", "the scenario needs it"},
	} {
		t.Run(name, func(t *testing.T) {
			sc := &scenario.Scenario{}
			sc.Spec.Cluster.Provider, sc.Spec.Cluster.CNI = tc.needs, tc.cni
			got, err := choose(t.Context(), tc.asked, sc, tc.from)
			if tc.want == "" {
				require.ErrorContains(t, err, tc.why)
				require.NotNil(t, unsupported(err), "what is lacking is unsupported, not broken")
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got.provider)
			require.Contains(t, got.why, tc.why)
			require.Equal(t, tc.want == "kind", got.daemon != nil)
		})
	}
}

func TestParseProvider(t *testing.T) {
	for in, want := range map[string]string{"": "auto", "auto": "auto", "kind": "kind", "netns": "netns"} {
		got, err := ParseProvider(in)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := ParseProvider("docker")
	require.ErrorContains(t, err, "want auto, kind or netns")
}
