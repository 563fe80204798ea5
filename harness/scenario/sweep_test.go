// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario_test

import (
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
		"none":             {},
		"in two":           {[]string{"kubernetes=v1.34.4,v1.35.4", "metallb=v0.13.9,v0.15.2"}, both, ""},
		"in one":           {[]string{"kubernetes=v1.34.4,v1.35.4,metallb=v0.13.9,v0.15.2"}, both, ""},
		"no name":          {[]string{"v1.34.4"}, nil, "want NAME=VERSION"},
		"an empty name":    {[]string{"=v1.34.4"}, nil, "want NAME=VERSION"},
		"no version":       {[]string{"kubernetes="}, nil, "want NAME=VERSION"},
		"an empty version": {[]string{"kubernetes=v1.34.4,"}, nil, "want NAME=VERSION"},
		"twice":            {[]string{"metallb=v0.13.9", "metallb=v0.15.2"}, nil, "metallb is swept twice"},
		"a version twice":  {[]string{"metallb=v0.13.9,v0.13.9"}, nil, "v0.13.9 stands there twice"},
		"all mistakes":     {[]string{"metallb", "=x"}, nil, "\"metallb\": want NAME=VERSION[,VERSION...], for example kubernetes=v1.34.4,v1.35.4\nsweep \"=x\""},
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
		"no version":             {"metallb=latest", "version"},
		"a name that is too long": {
			"kubernetes=v1.34.4-alpha.1.2.3.4.5.6.7.8.9.10.11.12.13.14", "50",
		},
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
