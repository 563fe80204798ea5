// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/fixtures"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

func TestEveryPinParses(t *testing.T) {
	want := map[string]string{
		"kubernetes": "k8s.io/kubernetes", "etcd": "go.etcd.io/etcd/server/v3", "coredns": "github.com/coredns/coredns",
		"cni-plugins": "github.com/containernetworking/plugins", "metallb": "go.universe.tf/metallb", "kind": "sigs.k8s.io/kind", "cilium": "github.com/cilium/cilium",
	}
	components, err := fixtures.Components.ReadDir("components")
	require.NoError(t, err)
	for _, c := range components {
		list := Versions(c.Name())
		require.NotEmpty(t, list)
		for _, v := range list {
			p, err := loadPin(fixtures.Components, c.Name(), v)
			require.NoError(t, err)
			require.Equal(t, want[c.Name()], p.module)
			require.NotEmpty(t, p.sum)
			require.NotEmpty(t, p.tools)
		}
	}
}

func TestUsualVersionsArePinned(t *testing.T) {
	components, err := fixtures.Components.ReadDir("components")
	require.NoError(t, err)
	for _, c := range components {
		require.Contains(t, Versions(c.Name()), usual(c.Name()))
		if len(Versions(c.Name())) > 1 { // which one it is must not hang on the newest
			require.Contains(t, []string{"kubernetes", "metallb"}, c.Name())
		}
	}
	require.Empty(t, usual("no-such-component"))
	all, err := scenarios.All(scenario.Options{})
	require.NoError(t, err)
	for _, sc := range all {
		require.Equal(t, usual("kubernetes"), sc.Spec.Cluster.Kubernetes, sc.Metadata.Name)
		for _, c := range sc.Spec.Components {
			require.Equal(t, usual(c.Name), c.Version, sc.Metadata.Name)
		}
	}
}

// A version that cannot be built is known before anything is made; where builds of the
// user's own stand in for all of a component it is not built.
func TestCheckPins(t *testing.T) {
	set := func(kubernetes, name, version string) Set {
		return Set{Kubernetes: kubernetes, Components: map[string]string{name: version}}
	}
	image := func(name string) OwnImage {
		return OwnImage{Component: "metallb", Image: name, From: "example.org/me/" + name + ":dev"}
	}
	chart := map[string]string{"metallb": "chart"}
	for name, c := range map[string]struct {
		set  Set
		own  Own
		want string
	}{
		"pinned":             {set: set("v1.35.4", "metallb", "v0.15.2")},
		"no such version":    {set("v1.35.4", "metallb", "v0.15.9"), Own{}, "no pin for metallb v0.15.9: known versions are v0.13.9, v0.15.2"},
		"no such Kubernetes": {set("v1.30.0", "metallb", "v0.15.2"), Own{}, "no pin for kubernetes v1.30.0"},
		"no such component":  {set("v1.35.4", "kube-vip", "v1.0.0"), Own{}, "kube-vip"},
		"one own image":      {set("v1.35.4", "metallb", "v0.15.9"), Own{Images: []OwnImage{image("speaker")}, Charts: chart}, "no pin for metallb"},
		"no own chart":       {set("v1.35.4", "metallb", "v0.15.9"), Own{Images: []OwnImage{image("speaker"), image("controller")}}, "no pin for metallb"},
		"all of one's own":   {set: set("v1.35.4", "metallb", "v0.15.9"), own: Own{Images: []OwnImage{image("speaker"), image("controller")}, Charts: chart}},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckPins(c.set, c.own)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestUnknownPinNamesKnownOnes(t *testing.T) {
	_, err := loadPin(fixtures.Components, "metallb", "v9.9.9")
	require.ErrorContains(t, err, "v0.15.2")
}

func TestPinWithoutModule(t *testing.T) {
	fsys := fstest.MapFS{
		"components/x/v1.0.0/module.mod": {Data: []byte("module m\nrequire example.com/x v1.0.1\ntool example.com/x/cmd\n")},
		"components/x/v1.0.0/module.sum": {},
	}
	_, err := loadPin(fsys, "x", "v1.0.0")
	require.ErrorContains(t, err, "no module required at that version")
}

func TestVersionsAreOrdered(t *testing.T) {
	fsys := fstest.MapFS{}
	for _, v := range []string{"v1.10.0", "v1.9.2", "v1.9.10"} {
		fsys["components/x/"+v+"/module.mod"] = &fstest.MapFile{}
	}
	require.Equal(t, []string{"v1.9.2", "v1.9.10", "v1.10.0"}, versions(fsys, "x"))
}

func TestProgramNames(t *testing.T) {
	require.Equal(t, []string{"server", "kubelet", "coredns", "vault"},
		programNames([]string{"go.etcd.io/etcd/server/v3", "k8s.io/kubernetes/cmd/kubelet", "github.com/coredns/coredns", "x/vault"}))
}

func TestKubernetesKnowsItsVersion(t *testing.T) {
	flags := linkerFlags(pin{component: "kubernetes", version: "v1.35.4"})
	for _, want := range []string{
		"-X k8s.io/component-base/version.gitVersion=v1.35.4", "-X k8s.io/component-base/version.gitMajor=1", "-X k8s.io/client-go/pkg/version.gitMinor=35",
	} {
		require.Contains(t, flags, want)
	}
	require.Empty(t, linkerFlags(pin{component: "etcd"}))
}

func TestUnknownSource(t *testing.T) {
	_, err := Open(Options{Dir: t.TempDir(), Source: "x"})
	require.ErrorContains(t, err, "unknown source")
}

func TestImageNamesFollowTheirParts(t *testing.T) {
	with := func(runc, pause, probe string) names {
		p := parts{version: "v1", recipes: map[string]recipe{}, runc: program{digest: runc}, pause: program{digest: pause}, probe: program{digest: probe + "0123456789ab"}}
		return p.names()
	}
	a := with("r", "p", "1")
	probe := with("r", "p", "2")
	require.Equal(t, a.base, probe.base, "a new probe bakes only the last images")
	require.Equal(t, a.controlPlane, probe.controlPlane)
	require.NotEqual(t, a.Worker, probe.Worker)
	require.NotEqual(t, a.Probe, probe.Probe)
	pause := with("r", "q", "1")
	require.Equal(t, a.base, pause.base)
	require.NotEqual(t, a.common, pause.common)
	require.NotEqual(t, a.ControlPlane, pause.ControlPlane)
	require.NotEqual(t, a.base, with("s", "p", "1").base)
	require.NotEqual(t, a.ControlPlane, a.Worker)
	for _, part := range []string{partKubernetes, partKubernetesNode, "cni-plugins", "rootfs"} { // what the base image holds
		p := parts{version: "v1", recipes: map[string]recipe{part: {name: part}}, runc: program{digest: "r"}, pause: program{digest: "p"}, probe: program{digest: "10123456789ab"}}
		require.NotEqual(t, a.base, p.names().base, part)
		require.NotEqual(t, a.ControlPlane, p.names().ControlPlane, part)
	}
}

func TestPruneKeepsWhatKeptImagesStandOn(t *testing.T) {
	layers := map[string]string{
		"base:1": "a ", "common:1": "a b ", "node:1-cp": "a b c ", "node:1-worker": "a b d ", "probe:1": "p ",
		"common:0": "a x ", "node:0-cp": "a x y ", "probe:0": "q ",
	}
	keep := NodeImages{ControlPlane: "node:1-cp", Worker: "node:1-worker", Probe: "probe:1"}
	require.Equal(t, []string{"common:0", "node:0-cp", "probe:0"}, superfluous(layers, []NodeImages{keep}))
	require.Len(t, superfluous(layers, nil), len(layers))
}

// Each program of Kubernetes is in one of its two artifacts, and clusters of processes need
// none of the second.
func TestKubernetesIsTwoArtifacts(t *testing.T) {
	m := moduleProvider{}
	keys := map[string]bool{}
	for _, version := range Versions(partKubernetes) {
		p, err := loadPin(fixtures.Components, partKubernetes, version)
		require.NoError(t, err)
		var both []string
		for _, part := range []string{partKubernetes, partKubernetesNode} {
			component, in := partOf(part)
			require.Equal(t, partKubernetes, component)
			r, err := m.programs(t.Context(), part, version)
			require.NoError(t, err)
			require.Equal(t, part, r.name)
			for _, tool := range p.tools {
				// An artifact of the same name with other programs in it has another key.
				require.Equal(t, in(programName(tool)), slices.Contains(r.inputs, tool), "%s in %s", tool, part)
				if in(programName(tool)) {
					both = append(both, programName(tool))
				}
			}
			require.False(t, keys[r.key()], "%s %s has a key of its own", part, version)
			keys[r.key()] = true
		}
		require.ElementsMatch(t, programNames(p.tools), both)
	}
	require.Equal(t, usual(partKubernetes), usual(partKubernetesNode))

	s := &Store{source: m}
	recipes, err := s.programRecipes(t.Context(), Set{Components: map[string]string{"metallb": usual("metallb")}})
	require.NoError(t, err)
	var names []string
	for _, r := range recipes {
		names = append(names, r.name)
	}
	require.ElementsMatch(t, []string{partKubernetes, "etcd", "metallb"}, names)
	_, in := partOf(partKubernetes)
	for _, program := range []string{"kube-apiserver", "kube-proxy", "kubectl"} { // netns.ControlPlane
		require.True(t, in(program))
	}

	planned, err := s.plan(t.Context(), nil, Set{Kubernetes: "v1.34.4"})
	require.NoError(t, err)
	for _, part := range []string{partKubernetes, partKubernetesNode} {
		require.Equal(t, "v1.34.4", planned.recipes[part].version)
	}
	_, err = s.plan(t.Context(), nil, Set{Components: map[string]string{partKubernetesNode: "v1.34.4"}})
	require.ErrorContains(t, err, partKubernetesNode)
}
