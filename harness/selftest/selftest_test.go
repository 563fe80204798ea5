// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package selftest_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/selftest"
	"github.com/lbmatrix/lbmatrix/harness/world"
)

func needWorlds(t *testing.T) {
	t.Helper()
	if err := world.Available(); err != nil {
		t.Skipf("no worlds here: %v", err)
	}
}

func wrong(r selftest.Report) []selftest.Cell {
	return slices.DeleteFunc(slices.Clone(r.Cells), func(c selftest.Cell) bool { return c.OK || c.Busy })
}

// timed says whether a world is about figures of time, which say as much of a machine that
// runs other tests meanwhile as of the instrument: `lbmatrix selftest` holds them to the
// truth, and TestSabotageOfTimeIsNoticed shows that it does.
func timed(w selftest.World) bool {
	return slices.Contains([]string{"stalling-backend", "dead-announcer"}, w.Name)
}

func TestEveryCheckSaysWhatIsTrue(t *testing.T) {
	needWorlds(t)
	worlds := slices.DeleteFunc(selftest.Worlds(), timed)
	require.Len(t, worlds, len(selftest.Worlds())-2)
	report, err := selftest.Run(t.Context(), selftest.Options{Dir: t.TempDir(), Worlds: worlds})
	require.NoError(t, err)
	require.Empty(t, wrong(report))
	require.Equal(t, len(worlds), report.Worlds)
}

// A broken detector must be found out, by the worlds that are about what it cannot see.
func TestSabotageIsNoticed(t *testing.T) {
	needWorlds(t)
	var worlds []selftest.World
	for _, w := range selftest.Worlds() {
		if slices.Contains([]string{"one-responder", "two-responders", "second-answers-1-in-10", "frames-dropped"}, w.Name) {
			worlds = append(worlds, w)
		}
	}
	require.Len(t, worlds, 4)
	seen := map[string][]string{}
	for _, s := range selftest.Sabotages() {
		if ofTime(s) {
			continue
		}
		o := selftest.Options{Worlds: worlds}
		s.Apply(&o)
		report, err := selftest.Run(t.Context(), o)
		require.NoError(t, err)
		require.Positive(t, report.Wrong, s.Name)
		for _, c := range wrong(report) {
			if !slices.Contains(seen[s.Name], c.World) {
				seen[s.Name] = append(seen[s.Name], c.World)
			}
		}
	}
	require.Equal(t, []string{"frames-dropped"}, seen["deaf-to-drops"])
	require.Equal(t, []string{"two-responders", "second-answers-1-in-10"}, seen["one-mac"])
	require.Equal(t, []string{"two-responders", "second-answers-1-in-10", "frames-dropped"}, seen["always-pass"])
	require.Contains(t, seen["always-fail"], "one-responder")
}

// ofTime says whether what is broken measures time.
func ofTime(s selftest.Sabotage) bool { return s.Name == "closed-loop" || s.Name == "late-watch" }

// A figure that is wrong by more than a busy machine makes it must be found out as well.
func TestSabotageOfTimeIsNoticed(t *testing.T) {
	needWorlds(t)
	o := selftest.Options{Tries: 1}
	for _, w := range selftest.Worlds() {
		if timed(w) {
			o.Worlds = append(o.Worlds, w)
		}
	}
	require.Len(t, o.Worlds, 2)
	for _, s := range selftest.Sabotages() { // one does not touch the other
		if ofTime(s) {
			s.Apply(&o)
		}
	}
	report, err := selftest.Run(t.Context(), o)
	require.NoError(t, err)
	require.Len(t, report.Cells, len(selftest.Instruments()))
	for _, c := range report.Cells {
		require.Equal(t, selftest.FamilyInstrument, c.Family)
		require.False(t, c.OK, "%s: %s", c.Check, c.Message)
		require.Equal(t, "off", c.Got, "%s: %s", c.Check, c.Message)
	}
	if report.Busy > 0 {
		t.Skipf("this machine stands still for longer than what is broken: %d of %d wrong figures could be its own", report.Busy, len(report.Cells))
	}
	var out strings.Builder
	require.NoError(t, selftest.Table(&out, report, o.Worlds))
	require.Contains(t, out.String(), "WRONG stalling-backend, load-p99: expected ok, got off (failed): ")
	require.Contains(t, out.String(), "5 NOT as expected")
}

// Each check of the segment, of traffic and of latency must be seen to pass and to fail.
// What only a cluster has is not for here.
func TestWorldsShowBothDirections(t *testing.T) {
	var ids []string
	for _, c := range judge.Checks() {
		if c.Family != "prove" && c.ID != "announcer-status-agrees" {
			ids = append(ids, c.ID)
		}
	}
	require.Empty(t, selftest.Uncovered(selftest.Worlds(), ids))
	require.Len(t, selftest.Uncovered(nil, []string{"single-responder"}), 1)
	var names []string
	figures := map[string]bool{}
	for _, w := range selftest.Worlds() {
		require.NotContains(t, names, w.Name)
		names = append(names, w.Name)
		require.NotEmpty(t, w.Truth, w.Name)
		for id, code := range w.Want {
			if i := slices.IndexFunc(selftest.Instruments(), func(i selftest.Instrument) bool { return i.ID == id }); i >= 0 {
				require.Equal(t, "ok", code, "a figure is right or it is not")
				figures[id] = true
				continue
			}
			c, ok := judge.Lookup(id)
			require.True(t, ok, "%s: no check %s", w.Name, id)
			for part := range strings.SplitSeq(code, "+") { // several faults are joined
				require.True(t, code == "no-data" || said(c.Codes, part) || said(c.Codes, code), "%s: %s does not say %s", w.Name, id, code)
			}
		}
	}
	require.Len(t, figures, len(selftest.Instruments()), "each figure has a world")
}

// said tells whether a check's codes have this one: N and M stand for numbers.
func said(codes []string, code string) bool {
	return slices.ContainsFunc(codes, func(c string) bool {
		pattern := "^" + strings.NewReplacer("=N+M", "=[0-9]+[+][0-9]+", "=N", "=[0-9]+").Replace(c) + "$"
		return regexp.MustCompile(pattern).MatchString(code)
	})
}
