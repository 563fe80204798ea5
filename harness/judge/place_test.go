// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// Times of an emulated guest are no verdict, whatever they are; everything else is judged
// there, and a guest that KVM runs is judged as a host is.
func TestLatencyIsNotJudgedInAnEmulatedGuest(t *testing.T) {
	for name, c := range map[string]struct {
		machine *journal.Machine
		judged  bool
	}{
		"the host":       {nil, true},
		"emulated guest": {&journal.Machine{Accelerator: "tcg", Slowdown: 31}, false},
		"kvm guest":      {&journal.Machine{Accelerator: "kvm", Slowdown: 1.1}, true},
	} {
		t.Run(name, func(t *testing.T) {
			j := &journal.Journal{Header: journal.Header{Spec: []byte("{}"), Where: journal.WhereGuest, Machine: c.machine}}
			for _, check := range Checks() {
				j.Header.Phases = append(j.Header.Phases, journal.PlannedPhase{Name: journal.PhaseBaseline, Checks: []string{check.ID}})
			}
			cells, err := Journal(j)
			require.NoError(t, err)
			for i, check := range Checks() {
				want := ResultBroken // the journal holds nothing
				if check.Family == "latency" && !c.judged {
					want = ResultUnsupported
					require.Equal(t, "emulated", cells[i].Verdict.Code)
					require.Contains(t, cells[i].Verdict.Message, "31 times slower")
					require.Equal(t, check.Title, cells[i].Title)
				}
				require.Equal(t, want, cells[i].Result, check.ID)
				require.Equal(t, journal.WhereGuest, cells[i].Where)
			}
			wanted := Observations(Possible(c.machine, IDs()))
			require.Equal(t, c.judged, len(wanted) == len(Observations(IDs())))
			require.Contains(t, wanted, journal.ObsARP)
		})
	}
}
