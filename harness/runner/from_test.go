// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

// A scenario that was finished stays as it is when a run goes on, but not with builds of
// the user's own: what lies under their names may be another thing by now.
func TestFinishedScenarios(t *testing.T) {
	all, err := scenarios.All(scenario.Options{})
	require.NoError(t, err)
	speaker := artifact.Own{Images: []artifact.OwnImage{{Component: "metallb", Image: "speaker", From: "example.org/me/speaker:dev"}}}
	for name, c := range map[string]struct {
		versions map[string]string
		own      artifact.Own
		skip     bool
		reason   string
		want     bool
	}{
		"the same":               {reason: journal.ReasonDone, want: true},
		"cut off":                {reason: "interrupted"},
		"other phases":           {reason: journal.ReasonDone, skip: true},
		"with an own build then": {reason: journal.ReasonDone, versions: map[string]string{ownMark + "image metallb/speaker": "x"}},
		"with an own image now":  {reason: journal.ReasonDone, own: speaker},
		"with an own chart now":  {reason: journal.ReasonDone, own: artifact.Own{Charts: map[string]string{"metallb": "chart"}}},
		"another's own build":    {reason: journal.ReasonDone, own: artifact.Own{Charts: map[string]string{"cilium": "chart"}}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			sc := all[0]
			for _, s := range all {
				if s.Metadata.Name == "kube-proxy-iptables-metallb-l2" {
					sc = s
				}
			}
			header, err := plan.Header(plan.Config{Scenario: sc, Versions: c.versions})
			require.NoError(t, err)
			file := filepath.Join(t.TempDir(), journal.FileName)
			w, err := journal.Create(file, header)
			require.NoError(t, err)
			require.NoError(t, w.Close(c.reason, nil))
			j, err := journal.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, c.want, finished(j, plan.Config{Scenario: sc, Mutations: plan.Mutations{None: c.skip}}, c.own))
		})
	}
}

// Where a build of the user's own cannot run, what is published must not pass for it.
func TestOwnBuildsElsewhere(t *testing.T) {
	sc := &scenario.Scenario{Spec: scenario.Spec{Components: []scenario.Component{{Name: "metallb"}}}}
	image := artifact.Own{Images: []artifact.OwnImage{{Component: "metallb", Image: "speaker", From: "x"}}}
	chart := artifact.Own{Charts: map[string]string{"metallb": "chart"}}
	for name, c := range map[string]struct {
		own   artifact.Own
		guest bool
		want  string
	}{
		"nothing of one's own":        {},
		"nothing, in a guest":         {guest: true},
		"an image":                    {image, false, "images of your own"},
		"an image, in a guest":        {image, true, "images of your own"},
		"a chart":                     {own: chart},
		"a chart, in a guest":         {chart, true, "not taken into a guest"},
		"another component's, guests": {own: artifact.Own{Charts: map[string]string{"cilium": "chart"}}, guest: true},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&execution{Options: Options{From: From{Own: c.own}}}).ownElsewhere(sc, c.guest)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			require.NotNil(t, unsupported(err))
		})
	}
}

// A version that cannot be built is bad usage where Go modules are asked for by name.
func TestVersionsWithoutAPin(t *testing.T) {
	sc := &scenario.Scenario{
		Metadata: scenario.Metadata{Name: "mine"},
		Spec:     scenario.Spec{Cluster: scenario.Cluster{Kubernetes: "v1.35.4"}, Components: []scenario.Component{{Name: "metallb", Version: "v0.15.9"}}},
	}
	for source, refused := range map[artifact.Source]bool{artifact.GoModule: true, artifact.Registry: false, artifact.Auto: false} {
		_, err := Specs{Source: string(source)}.Read([]*scenario.Scenario{sc, sc})
		if !refused {
			require.NoError(t, err, source)
			continue
		}
		require.EqualError(t, err, "scenario mine: no pin for metallb v0.15.9: known versions are v0.13.9, v0.15.2, v0.16.1")
	}
}
