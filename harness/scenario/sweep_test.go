// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func TestParseSweep(t *testing.T) {
	both := []scenario.Axis{
		{Name: "kubernetes", Versions: []string{"v1.34.4", "v1.35.4"}},
		{Name: "metallb", Versions: []string{"v0.13.9", "v0.15.2"}},
	}
	for name, c := range map[string]struct {
		specs []string
		want  []scenario.Axis
		err   string
	}{
		"none":               {},
		"in two":             {[]string{"kubernetes=v1.34.4,v1.35.4", "metallb=v0.13.9,v0.15.2"}, both, ""},
		"in one":             {[]string{"kubernetes=v1.34.4,v1.35.4,metallb=v0.13.9,v0.15.2"}, both, ""},
		"no name":            {[]string{"v1.34.4"}, nil, "want NAME=VERSION"},
		"an empty name":      {[]string{"=v1.34.4"}, nil, "want NAME=VERSION"},
		"with blanks":        {[]string{"kubernetes=v1.34.4, v1.35.4 , metallb=v0.13.9,v0.15.2"}, both, ""},
		"no version":         {[]string{"kubernetes="}, nil, "want NAME=VERSION"},
		"an empty version":   {[]string{"kubernetes=v1.34.4,"}, nil, "want NAME=VERSION"},
		"not a version":      {[]string{"metallb=latest"}, nil, "write all three numbers"},
		"not of Kubernetes":  {[]string{"kubernetes=1.35.4"}, nil, `did you mean "v1.35.4"`},
		"twice":              {[]string{"metallb=v0.13.9", "metallb=v0.15.2"}, nil, "metallb is swept twice"},
		"a version twice":    {[]string{"metallb=v0.13.9,v0.13.9"}, nil, "v0.13.9 stands there twice"},
		"one mistake a text": {[]string{"metallb", "=x"}, nil, "\"metallb\": want NAME=VERSION[,VERSION...], for example kubernetes=v1.34.4,v1.35.4\nsweep \"=x\""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := scenario.ParseSweep(c.specs)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func FuzzParseSweep(f *testing.F) {
	f.Add("kubernetes=v1.34.4,v1.35.4,metallb=v0.13.9")
	f.Fuzz(func(t *testing.T, spec string) {
		axes, err := scenario.ParseSweep([]string{spec})
		if err != nil {
			return
		}
		for _, a := range axes {
			require.NotEmpty(t, a.Name)
			require.NotEmpty(t, a.Versions)
		}
	})
}

func TestSweepMakesEveryCombination(t *testing.T) {
	base := load(t, good, scenario.Options{})
	before, err := base.Digest()
	require.NoError(t, err)
	axes, err := scenario.ParseSweep([]string{"kubernetes=v1.34.4,v1.35.4", "metallb=v0.13.9,v0.15.2"})
	require.NoError(t, err)
	got, err := scenario.Sweep([]*scenario.Scenario{base}, axes, scenario.Options{})
	require.NoError(t, err)
	type cell struct{ name, kubernetes, metallb string }
	var cells []cell
	for _, sc := range got {
		cells = append(cells, cell{sc.Metadata.Name, sc.Spec.Cluster.Kubernetes, sc.Spec.Components[0].Version})
	}
	name := base.Metadata.Name
	require.Equal(t, []cell{
		{name + "-k1-34-4-m0-13-9", "v1.34.4", "v0.13.9"},
		{name + "-k1-34-4-m0-15-2", "v1.34.4", "v0.15.2"},
		{name + "-k1-35-4-m0-13-9", "v1.35.4", "v0.13.9"},
		{name + "-k1-35-4-m0-15-2", "v1.35.4", "v0.15.2"},
	}, cells)
	after, err := base.Digest()
	require.NoError(t, err)
	require.Equal(t, before, after, "the scenario itself is not touched")
}

func TestSweepRefuses(t *testing.T) {
	base := load(t, good, scenario.Options{})
	for name, c := range map[string]struct{ spec, err string }{
		"a component nobody has": {"metalb=v0.15.2", `did you mean "metallb"`},
	} {
		t.Run(name, func(t *testing.T) {
			axes, err := scenario.ParseSweep([]string{c.spec})
			require.NoError(t, err)
			_, err = scenario.Sweep([]*scenario.Scenario{base}, axes, scenario.Options{})
			require.ErrorContains(t, err, c.err)
		})
	}
}

// As many scenarios as combinations, no two of one name, whatever is swept.
func TestSweepNamesAreDistinct(t *testing.T) {
	base := load(t, good, scenario.Options{})
	version := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"v0.13.9", "v0.15.2", "v0.16.1", "v1.33.5", "v1.34.4", "v1.35.4"}).Draw(t, "version")
	})
	rapid.Check(t, func(t *rapid.T) {
		var axes []scenario.Axis
		want := 1
		for _, name := range []string{"kubernetes", "metallb"} {
			versions := rapid.SliceOfNDistinct(version, 1, 4, rapid.ID).Draw(t, name)
			axes, want = append(axes, scenario.Axis{Name: name, Versions: versions}), want*len(versions)
		}
		got, err := scenario.Sweep([]*scenario.Scenario{base}, axes, scenario.Options{})
		require.NoError(t, err)
		names := map[string]bool{}
		for _, sc := range got {
			names[sc.Metadata.Name] = true
		}
		require.Len(t, got, want)
		require.Len(t, names, want)
	})
}

// Names have 50 characters, and those of the catalogue leave little of them.
func TestSweepOfLongNames(t *testing.T) {
	text := strings.Replace(good, "good-one", "cilium-cni-kube-proxy-ipvs-strictarp-metallb-l2", 1)
	other := strings.Replace(good, "good-one", "cilium-cni-kube-proxy-iptables-with-metallb-l2", 1)
	axes, err := scenario.ParseSweep([]string{"kubernetes=v1.34.4,v1.35.4,metallb=v0.13.9"})
	require.NoError(t, err)
	got, err := scenario.Sweep([]*scenario.Scenario{load(t, text, scenario.Options{}), load(t, other, scenario.Options{})}, axes, scenario.Options{})
	require.NoError(t, err)
	names := map[string]bool{}
	for _, sc := range got {
		require.LessOrEqual(t, len(sc.Metadata.Name), 50)
		require.True(t, strings.HasSuffix(sc.Metadata.Name, "-m0-13-9"), sc.Metadata.Name)
		names[sc.Metadata.Name] = true
	}
	require.Len(t, names, 4)
}
