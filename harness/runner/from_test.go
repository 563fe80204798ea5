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
			require.Equal(t, c.want, finished(j, plan.Config{Scenario: sc, SkipMutations: c.skip}, c.own))
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

// A version that cannot be built is bad usage, known before anything is made.
func TestVersionsWithoutAPin(t *testing.T) {
	made := func(kubernetes, name, version string) []*scenario.Scenario {
		return []*scenario.Scenario{{
			Metadata: scenario.Metadata{Name: "mine"},
			Spec:     scenario.Spec{Cluster: scenario.Cluster{Kubernetes: kubernetes}, Components: []scenario.Component{{Name: name, Version: version}}},
		}}
	}
	for name, c := range map[string]struct {
		all    []*scenario.Scenario
		source artifact.Source
		image  string
		want   string
	}{
		"pinned":                {all: made("v1.35.4", "metallb", "v0.15.2"), source: artifact.GoModule},
		"no such component":     {made("v1.35.4", "metallb", "v0.15.9"), artifact.GoModule, "", "scenario mine: no pin for metallb v0.15.9: known versions are v0.13.9, v0.15.2"},
		"no such Kubernetes":    {made("v1.30.0", "metallb", "v0.15.2"), artifact.GoModule, "", "no pin for kubernetes v1.30.0"},
		"never built":           {made("v1.35.4", "kube-vip", "v1.0.0"), artifact.GoModule, "", "kube-vip cannot be built from Go modules"},
		"from a registry":       {all: made("v1.30.0", "metallb", "v0.15.9"), source: artifact.Registry},
		"wherever":              {all: made("v1.30.0", "metallb", "v0.15.9"), source: artifact.Auto},
		"an image of one's own": {made("v1.35.4", "metallb", "v0.15.9"), artifact.GoModule, "metallb/speaker=example.org/me/speaker:dev", ""},
	} {
		t.Run(name, func(t *testing.T) {
			specs := Specs{Source: string(c.source)}
			if c.image != "" {
				specs.Images = []string{c.image}
			}
			_, err := specs.Read(c.all)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}
