// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenarios_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

func TestIndexAndFilesAgree(t *testing.T) {
	files, err := fs.Glob(scenarios.FS, "*.yaml")
	require.NoError(t, err)
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, ".values.yaml") {
			continue
		}
		name := strings.TrimSuffix(file, ".yaml")
		names = append(names, name)
		data, err := scenarios.FS.ReadFile(file)
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(string(data), "# yaml-language-server: $schema=schema.json\n"), "%s does not name its schema", file)
		s, err := scenarios.Get(name, scenario.Options{})
		require.NoError(t, err)
		assert.Equal(t, name, s.Metadata.Name, "file and scenario have different names")
	}
	assert.ElementsMatch(t, names, scenarios.Names())
}

func TestAllInOrder(t *testing.T) {
	all, err := scenarios.All(scenario.Options{})
	require.NoError(t, err)
	var names []string
	for _, s := range all {
		names = append(names, s.Metadata.Name)
	}
	assert.Equal(t, scenarios.Names(), names)
}

func TestAllRefusesUnknownNames(t *testing.T) {
	_, err := scenarios.All(scenario.Options{Checks: []string{"single-responder"}, Mutations: []string{"other"}})
	var all scenario.Errors
	require.ErrorAs(t, err, &all)
	assert.Equal(t, "scenarios/kube-proxy-iptables-metallb-l2.yaml", all[0].File)
	assert.Contains(t, err.Error(), `unknown value "no-l2-advertisement"; allowed: other`)
	assert.Contains(t, err.Error(), `unknown value "l2-advertisement-present"`)
}

func TestUnknownName(t *testing.T) {
	_, err := scenarios.Get("kube-proxy-iptable-metallb-l2", scenario.Options{})
	var unknown *scenarios.UnknownError
	require.True(t, errors.As(err, &unknown))
	assert.EqualError(t, err, `unknown scenario "kube-proxy-iptable-metallb-l2"; did you mean "kube-proxy-iptables-metallb-l2"?; scenarios: `+strings.Join(scenarios.Names(), ", "))

	_, err = scenarios.Get("nothing-like-it", scenario.Options{})
	assert.EqualError(t, err, `unknown scenario "nothing-like-it"; scenarios: `+strings.Join(scenarios.Names(), ", "))
}

// The plainest scenario, as the rest of lbmatrix sees it.
func TestKubeProxyIPTablesMetalLBL2(t *testing.T) {
	s, err := scenarios.Get("kube-proxy-iptables-metallb-l2", scenario.Options{})
	require.NoError(t, err)
	assert.Equal(t, scenario.DataPlane{Proxy: scenario.ProxyIPTables, Forwarding: scenario.ForwardingSNAT}, s.Spec.DataPlane)
	assert.Equal(t, 460, s.Spec.Limits.ARPProbes)
	assert.Equal(t, map[string]any{"enabled": false}, s.Spec.Components[0].Values["frrk8s"])
	require.Len(t, s.Spec.Mutations, 5)
	assert.Len(t, s.Spec.Mutations[0].Expect[1].Consequences, 10)
}
