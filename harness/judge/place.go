// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"
	"slices"

	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// familyLatency are the checks whose figures are times.
const familyLatency = "latency"

// possible says whether a check means something on a machine, which is nil for the host.
func possible(m *journal.Machine, c Check) bool {
	return m == nil || !m.Emulated() || c.Family != familyLatency
}

// Possible lists those of the checks that mean something on a machine, which is nil for
// the host: nothing has to be observed for the others.
func Possible(m *journal.Machine, checks []string) []string {
	return slices.DeleteFunc(slices.Clone(checks), func(id string) bool {
		c, ok := Lookup(id)
		return ok && !possible(m, c)
	})
}

// notComparable is the verdict on times of an emulated machine. Not even ratios of two of
// its paths are judged: emulation slows what is computed some ten times and what starts a
// process or crosses a device fifty to a hundred times, so a path that does more of the
// latter looks worse than it is on any real machine, or hides what is.
func notComparable(m journal.Machine) Verdict {
	return Verdict{
		Outcome: Unsupported, Code: codeEmulated,
		Message: fmt.Sprintf("the guest's processor is emulated (%s, %.0f times slower than its host, and not alike for all work): its times, and their ratios, "+
			"say nothing of a real machine's. Run it where the kernel has what the scenario needs, or where KVM works", m.Accelerator, m.Slowdown),
	}
}
