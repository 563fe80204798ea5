// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package journal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// write makes a journal with one observation that holds one instrument run of n replies.
func write(t *testing.T, n int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), journal.FileName)
	w, err := journal.Create(path, journal.Header{Scenario: "s"})
	require.NoError(t, err)
	require.NoError(t, w.Write(journal.KindTopology, journal.Topology{Subnet: "192.0.2.0/24"}))
	require.NoError(t, w.BeginPhase(journal.PhaseBaseline))
	o, err := w.Begin(journal.ObsARP)
	require.NoError(t, err)
	require.NoError(t, o.Write(journal.KindPaths, journal.Paths{}))
	s := o.Stream(journal.StreamARP)
	// The pieces a pipe delivers don't end where lines do.
	text := instrument(n)
	for len(text) > 0 {
		k := min(37, len(text))
		_, err := s.Write(text[:k])
		require.NoError(t, err)
		text = text[k:]
	}
	require.NoError(t, o.End(nil))
	require.NoError(t, w.EndPhase())
	require.NoError(t, w.Close("done", nil))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func instrument(n int) []byte {
	var b bytes.Buffer
	line := func(seq int, kind string, body any) {
		raw, _ := json.Marshal(body)
		rec, _ := json.Marshal(probe.Record{Seq: int64(seq), Kind: kind, Body: raw})
		b.Write(append(rec, '\n'))
	}
	line(1, probe.KindStart, probe.Start{Instrument: "arp"})
	for i := range n {
		line(2+i, probe.KindARPReply, probe.ARPReply{Probe: i, SenderMAC: "02:00:00:00:00:01"})
	}
	line(2+n, probe.KindEnd, probe.End{Records: int64(2 + n), Reason: probe.ReasonDone})
	return b.Bytes()
}

func replies(t *testing.T, data []byte) ([]probe.ARPReply, error) {
	t.Helper()
	j, err := journal.Read(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	span, err := j.Phase(journal.PhaseBaseline).Observation(journal.ObsARP)
	if err != nil {
		return nil, err
	}
	run, err := span.Stream(journal.StreamARP)
	if err != nil {
		return nil, err
	}
	return journal.Items[probe.ARPReply](run, probe.KindARPReply)
}

func TestReadsBackWhatWasWritten(t *testing.T) {
	data := write(t, 5)
	got, err := replies(t, data)
	require.NoError(t, err)
	require.Len(t, got, 5)
	j, err := journal.Read(bytes.NewReader(data))
	require.NoError(t, err)
	require.True(t, j.Ended)
	require.False(t, j.Torn)
	topo, err := j.Phase(journal.PhaseBaseline).Topology()
	require.NoError(t, err)
	require.Equal(t, "192.0.2.0/24", topo.Subnet)
}

func TestEveryLostLineOfAnObservationIsNoticed(t *testing.T) {
	data := write(t, 3)
	lines := bytes.SplitAfter(bytes.TrimRight(data, "\n"), []byte("\n"))
	for i, line := range lines {
		var rec journal.Record
		require.NoError(t, json.Unmarshal(line, &rec))
		if rec.Observation == "" {
			continue
		}
		cut := bytes.Join(append(append([][]byte{}, lines[:i]...), lines[i+1:]...), nil)
		_, err := replies(t, cut)
		require.Error(t, err, "line %d (%s) was removed", i+1, rec.Kind)
	}
}

func TestJournalThatLostAnyLineHasNotEnded(t *testing.T) {
	data := write(t, 3)
	whole, err := journal.Read(bytes.NewReader(data))
	require.NoError(t, err)
	require.True(t, whole.Ended)
	require.Zero(t, whole.Lost)
	lines := bytes.SplitAfter(bytes.TrimRight(data, "\n"), []byte("\n"))
	lines[len(lines)-1] = append(bytes.Clone(lines[len(lines)-1]), '\n')
	for i := 1; i < len(lines); i++ {
		j, err := journal.Read(bytes.NewReader(bytes.Join(append(append([][]byte{}, lines[:i]...), lines[i+1:]...), nil)))
		require.NoError(t, err)
		require.False(t, j.Ended, "line %d was removed", i+1)
		if i < len(lines)-1 {
			require.EqualValues(t, 1, j.Lost, "line %d was removed", i+1)
		}
	}
}

func TestRepeatedAndSwappedLinesMakeEverythingUnbelievable(t *testing.T) {
	lines := bytes.SplitAfter(write(t, 3), []byte("\n"))
	lines = lines[:len(lines)-1]
	for i := 1; i < len(lines); i++ {
		twice := bytes.Join([][]byte{bytes.Join(lines[:i+1], nil), lines[i], bytes.Join(lines[i+1:], nil)}, nil)
		_, err := replies(t, twice)
		require.Error(t, err, "line %d twice", i+1)
		if i+1 < len(lines) {
			swapped := append([][]byte{}, lines...)
			swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
			_, err := replies(t, bytes.Join(swapped, nil))
			require.Error(t, err, "lines %d and %d swapped", i+1, i+2)
		}
	}
}

func TestTornLastLineLeavesTheRest(t *testing.T) {
	data := write(t, 3)
	end := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
	for cut := end + 1; cut < len(data); cut++ {
		got, err := replies(t, data[:cut])
		require.NoError(t, err)
		require.Len(t, got, 3)
		j, err := journal.Read(bytes.NewReader(data[:cut]))
		require.NoError(t, err)
		require.True(t, j.Torn)
		require.False(t, j.Ended)
	}
}

func TestDamageInTheMiddleIsDisorder(t *testing.T) {
	data := write(t, 3)
	i := bytes.Index(data, []byte(`"kind":"paths"`))
	damaged := bytes.Clone(data)
	damaged[i] = 0
	_, err := replies(t, damaged)
	require.ErrorContains(t, err, "is no record")
}

func TestHeaderIsNeeded(t *testing.T) {
	_, err := journal.Read(strings.NewReader(""))
	require.ErrorIs(t, err, journal.ErrNoHeader)
	data := write(t, 1)
	_, err = journal.Read(bytes.NewReader(data[bytes.IndexByte(data, '\n')+1:]))
	require.ErrorIs(t, err, journal.ErrNoHeader)
	_, err = journal.Read(bytes.NewReader(bytes.Replace(data, []byte(`"format":1`), []byte(`"format":9`), 1)))
	require.ErrorContains(t, err, "format 9")
}

func TestInstrumentThatEndedEarlyGivesNoData(t *testing.T) {
	data := bytes.Replace(write(t, 2), []byte(`"reason":"done"`), []byte(`"reason":"deadline"`), 1)
	_, err := replies(t, data)
	require.ErrorContains(t, err, "ended early (deadline)")
}

func TestObservationErrorGivesNoData(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	w, err := journal.Create(path, journal.Header{Scenario: "s"})
	require.NoError(t, err)
	require.NoError(t, w.BeginPhase(journal.PhaseBaseline))
	o, err := w.Begin(journal.ObsARP)
	require.NoError(t, err)
	require.NoError(t, o.End(errors.New("the observer is gone")))
	require.NoError(t, w.EndPhase())
	require.NoError(t, w.Close("failed", errors.New("x")))
	j, err := journal.ReadFile(path)
	require.NoError(t, err)
	_, err = j.Phase(journal.PhaseBaseline).Observation(journal.ObsARP)
	require.ErrorContains(t, err, "the observer is gone")
}

func TestInstrumentThatPrintsNoJSONIsRefused(t *testing.T) {
	w, err := journal.Create(filepath.Join(t.TempDir(), "j"), journal.Header{})
	require.NoError(t, err)
	o, err := w.Begin("x")
	require.NoError(t, err)
	_, err = fmt.Fprintln(o.Stream("s"), "panic: oops")
	require.ErrorContains(t, err, "not a JSON line")
}

func TestFaultsMustBeVerified(t *testing.T) {
	for name, tc := range map[string]struct {
		phase string
		recs  []journal.Fault
		want  string
	}{
		"baseline needs none":   {phase: journal.PhaseBaseline},
		"mutation without any":  {phase: journal.MutationPhase("m"), want: "no record of apply"},
		"mutation not verified": {phase: journal.MutationPhase("m"), recs: []journal.Fault{{Action: journal.FaultApply}}, want: "no record of verify"},
		"mutation verified":     {phase: journal.MutationPhase("m"), recs: []journal.Fault{{Action: journal.FaultApply}, {Action: journal.FaultVerify}}},
		"verify failed":         {phase: journal.MutationPhase("m"), recs: []journal.Fault{{Action: journal.FaultApply}, {Action: journal.FaultVerify, Error: "still there"}}, want: "still there"},
		"restored":              {phase: journal.RestoredPhase("m"), recs: []journal.Fault{{Action: journal.FaultUndo}, {Action: journal.FaultVerify}}},
		"restored not undone":   {phase: journal.RestoredPhase("m"), recs: []journal.Fault{{Action: journal.FaultVerify}}, want: "no record of undo"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "j")
			w, err := journal.Create(path, journal.Header{})
			require.NoError(t, err)
			require.NoError(t, w.BeginPhase(tc.phase))
			for _, r := range tc.recs {
				require.NoError(t, w.Write(journal.KindFault, r))
			}
			require.NoError(t, w.Close("done", nil))
			j, err := journal.ReadFile(path)
			require.NoError(t, err)
			if tc.want == "" {
				require.NoError(t, j.Phase(tc.phase).FaultsVerified())
			} else {
				require.ErrorContains(t, j.Phase(tc.phase).FaultsVerified(), tc.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"seq":1,"kind":"header","body":{"format":1}}` + "\n"))
	f.Add([]byte(`{"seq":1,"kind":"header","body":{"format":1}}` + "\n" + `{"seq":2,"kind":"end","body":{"records":2}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		j, err := journal.Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		facts := j.Phase(journal.PhaseBaseline)
		_, _ = facts.Topology()
		_ = facts.FaultsVerified()
		if span, err := facts.Observation(journal.ObsARP); err == nil {
			_, _ = span.Stream(journal.StreamARP)
		}
	})
}
