// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// A scenario that was written by yaml or json is read as it was.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawScenario(t)
		want.SetDefaults()

		text, err := yaml.Marshal(want)
		require.NoError(t, err)
		got, err := scenario.Load("drawn.yaml", text, scenario.Options{})
		require.NoError(t, err, "%s", text)
		require.Equal(t, want, got, "%s", text)

		text, err = json.Marshal(want)
		require.NoError(t, err)
		fromJSON := &scenario.Scenario{}
		require.NoError(t, json.Unmarshal(text, fromJSON))
		require.Equal(t, want, fromJSON)
		got, err = scenario.Load("drawn.json", text, scenario.Options{})
		require.NoError(t, err, "JSON is YAML: %s", text)
		require.Equal(t, want, got)

		first, err := want.Digest()
		require.NoError(t, err)
		second, err := got.Digest()
		require.NoError(t, err)
		require.Equal(t, first, second)
	})
}

func drawScenario(t *rapid.T) *scenario.Scenario {
	kebab := rapid.StringMatching(`[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,8}){0,3}`)
	s := &scenario.Scenario{
		APIVersion: scenario.APIVersion, Kind: scenario.Kind,
		Metadata: scenario.Metadata{
			Name:        kebab.Draw(t, "name"),
			Title:       rapid.StringMatching(`[!-~]([ -~äß漢]{0,40}[!-~])?`).Draw(t, "title"),
			Description: drawText(t, "description"),
		},
	}
	p := &s.Spec
	p.DataPlane.Proxy = rapid.SampledFrom([]scenario.Proxy{"iptables", "ipvs", "nftables", "cilium"}).Draw(t, "proxy")
	cni, forwardings := scenario.CNIStatic, []scenario.Forwarding{"", "snat"}
	if p.DataPlane.Proxy == scenario.ProxyCilium || rapid.Bool().Draw(t, "cilium as CNI") {
		cni = scenario.CNICilium
		p.Components = []scenario.Component{{Name: "cilium", Version: "v1.19.1", Namespace: "kube-system"}}
	}
	if p.DataPlane.Proxy == scenario.ProxyCilium {
		forwardings = append(forwardings, "dsr", "hybrid")
	}
	p.DataPlane.Forwarding = rapid.SampledFrom(forwardings).Draw(t, "forwarding")
	p.DataPlane.StrictARP = p.DataPlane.Proxy == scenario.ProxyIPVS && rapid.Bool().Draw(t, "strictARP")
	p.Cluster = scenario.Cluster{
		Kubernetes: "v1.35.4", CNI: cni,
		Workers:               rapid.IntRange(2, 9).Draw(t, "workers"),
		PodSubnet:             rapid.SampledFrom([]string{"", "10.0.0.0/16", "192.168.0.0/20"}).Draw(t, "podSubnet"),
		ControlPlaneAnnounces: rapid.Bool().Draw(t, "announces"),
	}
	p.Backend.Replicas = rapid.IntRange(p.Cluster.Workers, 120).Draw(t, "replicas")
	for _, name := range rapid.SliceOfNDistinct(kebab, 1, 3, rapid.ID).Draw(t, "components") {
		p.Components = append(p.Components, scenario.Component{
			Name: name, Version: "v0.15.2", Namespace: kebab.Draw(t, "namespace"), Values: drawValues(t, 3),
		})
	}
	p.Limits.ARPInterval = scenario.Duration(rapid.Int64Range(int64(time.Millisecond), int64(5*time.Second)).Draw(t, "arpInterval"))
	p.Limits.MaxErrorRatio = rapid.Float64Range(0, 1).Draw(t, "maxErrorRatio")
	p.Limits.LatencyRatioP50 = rapid.Float64Range(1.000001, 1000).Draw(t, "latencyRatioP50")
	for _, name := range rapid.SliceOfNDistinct(kebab, 0, 2, rapid.ID).Draw(t, "mutations") {
		checks := rapid.SliceOfNDistinct(kebab, 1, 4, rapid.ID).Draw(t, "checks")
		p.Mutations = append(p.Mutations, scenario.Mutation{Name: name, Expect: []scenario.Expectation{{
			Check: checks[0], Code: "responders=0", Consequences: append([]string(nil), checks[1:]...),
		}}})
	}
	return s
}

// drawValues gives Helm values, nil when there are none.
func drawValues(t *rapid.T, depth int) map[string]any {
	m := map[string]any{}
	for range rapid.IntRange(0, 3).Draw(t, "values") {
		m[drawText(t, "key")] = drawValue(t, depth)
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

func drawValue(t *rapid.T, depth int) any {
	kind := rapid.IntRange(0, 6).Draw(t, "kind")
	switch {
	case kind == 0:
		return nil
	case kind == 1:
		return rapid.Bool().Draw(t, "bool")
	case kind == 2:
		return rapid.Int().Draw(t, "int")
	case kind == 3:
		return float64(rapid.IntRange(-1000, 1000).Draw(t, "half")) + 0.5
	case kind == 4 && depth > 0:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "items") {
			list = append(list, drawValue(t, depth-1))
		}
		return list
	case kind == 5 && depth > 0:
		if m := drawValues(t, depth-1); m != nil {
			return m
		}
		return map[string]any{}
	}
	return drawText(t, "text")
}

// drawText mixes plain text with what YAML reads as something else. Not <<: yaml
// writes that one without the quotes it needs.
func drawText(t *rapid.T, label string) string {
	if rapid.Bool().Draw(t, label+" odd") {
		return rapid.SampledFrom([]string{
			"yes", "on", "n", "null", "~", "true", "010", "1e3", "0x1f", "2026-11-23", "12:30:45", "=", "- a", "a: b",
			"#", "&a", "*a", "!x", "%", "@", "`", "'", "\"", "[", "{", "a\nb\n", "a\r\nb", " lead", "trail ", "\t", ".inf", ".nan", "1_000", "---", "...", "?",
		}).Draw(t, label)
	}
	return strings.TrimSpace(rapid.StringMatching(`[ -~äß漢]{1,20}`).Draw(t, label)) + "x"
}
