// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

func sampleScenario(proxy scenario.Proxy) *scenario.Scenario {
	return &scenario.Scenario{
		Metadata: scenario.Metadata{Name: "kube-proxy-iptables-metallb-l2"},
		Spec: scenario.Spec{
			DataPlane: scenario.DataPlane{Proxy: proxy},
			Cluster:   scenario.Cluster{Kubernetes: "v1.35.4", Workers: 2, CNI: scenario.CNIStatic},
		},
	}
}

func TestConfig(t *testing.T) {
	strict := sampleScenario(scenario.ProxyIPVS)
	strict.Spec.DataPlane.StrictARP = true
	strict.Spec.Cluster.PodSubnet = "10.50.0.0/16"
	strict.Spec.Cluster.ServiceSubnet = "10.60.0.0/16"
	for name, c := range map[string]struct {
		s     *scenario.Scenario
		facts hostFacts
	}{
		"plain":     {sampleScenario(scenario.ProxyIPTables), hostFacts{}},
		"cgroup-v1": {sampleScenario(scenario.ProxyNFTables), hostFacts{CgroupV1: true, NoSysResource: true}},
		"ipvs":      {strict, hostFacts{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := renderConfig("lbm-x", c.s, "lbmatrix/control-plane:1", "lbmatrix/worker:1", c.facts)
			require.NoError(t, err)
			golden(t, "kind-"+name+".yaml", got)
		})
	}
}

func TestConfigRefusesCgroupV1WhereKubeletDoes(t *testing.T) {
	s := sampleScenario(scenario.ProxyIPTables)
	s.Spec.Cluster.Kubernetes = "v1.36.3"
	_, err := renderConfig("x", s, "a", "b", hostFacts{CgroupV1: true})
	require.ErrorContains(t, err, "refuses cgroup v1")
	_, err = renderConfig("x", s, "a", "b", hostFacts{})
	require.NoError(t, err)
}

func TestNodeNames(t *testing.T) {
	require.Equal(t, []string{"c-control-plane", "c-worker", "c-worker2", "c-worker3"}, nodeNames("c", 3))
}

func TestOptionsSayEverythingThatIsMissing(t *testing.T) {
	o := Options{Name: "Not_Valid"}
	err := o.check()
	for _, s := range []string{"Not_Valid", "no scenario", "no docker client", "no ledger", "no run id"} {
		require.ErrorContains(t, err, s)
	}
}
