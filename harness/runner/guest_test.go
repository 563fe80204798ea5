// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

func kernelLacks(option string) error {
	return &kernelError{unsupportedError{journal.Unsupported{Missing: []string{"kernel 6.18 has no " + option}, Fix: "another kernel"}}}
}

// Only a kernel that lacks something sends a scenario into a guest, only where the choice
// was left to us, and never from within one.
func TestWantsGuest(t *testing.T) {
	plain := func(*execution, *scenario.Scenario) {}
	for name, c := range map[string]struct {
		cause  error
		change func(*execution, *scenario.Scenario)
		want   bool
	}{
		"the kernel lacks something":   {kernelLacks("CONFIG_IP_VS"), plain, true},
		"and is wrapped":               {fmt.Errorf("look: %w", kernelLacks("CONFIG_IP_VS")), plain, true},
		"nothing is wrong":             {nil, plain, false},
		"the harness failed":           {errors.New("no"), plain, false},
		"something else is missing":    {lacks("a tool", "get it"), plain, false},
		"namespaces were asked for":    {kernelLacks("CONFIG_IP_VS"), func(r *execution, _ *scenario.Scenario) { r.Provider = scenario.ProviderNetns }, true},
		"containers were asked for":    {kernelLacks("CONFIG_IP_VS"), func(r *execution, _ *scenario.Scenario) { r.Provider = scenario.ProviderKind }, false},
		"it is in a guest already":     {kernelLacks("CONFIG_IP_VS"), func(r *execution, _ *scenario.Scenario) { r.matrix.Run.Machine.Accelerator = "tcg" }, false},
		"Cilium needs a kubelet":       {kernelLacks("CONFIG_IP_VS"), func(_ *execution, s *scenario.Scenario) { s.Spec.Cluster.CNI = scenario.CNICilium }, false},
		"the scenario needs container": {kernelLacks("CONFIG_IP_VS"), func(_ *execution, s *scenario.Scenario) { s.Spec.Cluster.Provider = scenario.ProviderKind }, false},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := &execution{Options: Options{Provider: ProviderAuto}}, &scenario.Scenario{}
			s.SetDefaults()
			c.change(r, s)
			require.Equal(t, c.want, r.wantsGuest(s, c.cause))
		})
	}
	require.NotNil(t, unsupported(kernelLacks("CONFIG_IP_VS")), "without a guest it is unsupported")
	require.Equal(t, []string{"kernel 6.18 has no CONFIG_IP_VS"}, reasons(kernelLacks("CONFIG_IP_VS")))
}

// A guest runs the very scenario that was resolved here.
func TestSpecIsTheSameInTheGuest(t *testing.T) {
	all, err := scenarios.All(scenario.Options{})
	require.NoError(t, err)
	for _, sc := range all {
		file := filepath.Join(t.TempDir(), "guest", sc.Metadata.Name+".yaml")
		require.NoError(t, writeSpec(sc, file))
		there, err := scenario.LoadFile(file, scenario.Options{})
		require.NoError(t, err)
		want, err := sc.Digest()
		require.NoError(t, err)
		got, err := there.Digest()
		require.NoError(t, err)
		require.Equal(t, want, got, sc.Metadata.Name)
	}
}

// What a guest's run left of a scenario lands in its folder, as if it had run here.
func TestTakeIn(t *testing.T) {
	dir := t.TempDir()
	incoming := filepath.Join(dir, GuestDir, "incoming")
	for _, name := range []string{"run-1/" + report.RunFile, "run-1/junit.xml", "run-1/s/" + journal.FileName, "run-1/s/cluster/etcd.log"} {
		name = filepath.Join(incoming, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte("{}"), 0o644))
	}
	require.NoError(t, takeIn(incoming, "s", dir))
	for _, name := range []string{journal.FileName, "cluster/etcd.log", GuestDir + "/" + report.RunFile} {
		require.FileExists(t, filepath.Join(dir, name))
	}
	require.NoDirExists(t, incoming)
	require.NoError(t, takeIn(incoming, "s", t.TempDir()), "a guest that left nothing")
}

func TestLines(t *testing.T) {
	var got []string
	l := &lines{each: func(s string) { got = append(got, s) }}
	for _, p := range []string{"  1.0s  one\n 2.", "0s  two\n", "a rest without an end"} {
		l.write([]byte(p))
	}
	require.Equal(t, []string{"1.0s  one", "2.0s  two"}, got)
}

func TestGuestIsToldItsOwnMutations(t *testing.T) {
	sc := &scenario.Scenario{Metadata: scenario.Metadata{Name: "x"}, Spec: scenario.Spec{Mutations: []scenario.Mutation{{Name: "a"}, {Name: "b"}}}}
	plain := []string{"run", "--file", "x.yaml", "--provider", "netns"}
	for name, c := range map[string]struct {
		chosen plan.Mutations
		want   []string
	}{
		"all":              {},
		"none":             {plan.Mutations{None: true}, []string{"--skip-mutations"}},
		"some":             {plan.Mutations{Only: []string{"b", "c", "a"}}, []string{"--mutations", "a,b"}},
		"those it has not": {plan.Mutations{Only: []string{"c"}}, []string{"--skip-mutations"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, append(slices.Clone(plain), c.want...), guestArgs(sc, c.chosen))
			require.Equal(t, c.chosen.Of(sc), (&execution{Options: Options{Mutations: c.chosen}}).config(sc, "").Mutations)
		})
	}
}
