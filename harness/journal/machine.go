// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package journal

// Where a scenario ran.
const (
	WhereHost  = "host"
	WhereGuest = "guest"
)

// Machine is the computer something ran on.
type Machine struct {
	Host        string `json:"host,omitempty"`
	OS          string `json:"os,omitempty"`
	Kernel      string `json:"kernel,omitempty"`
	CPUs        int    `json:"cpus,omitempty"`
	MemoryBytes int64  `json:"memoryBytes,omitempty"`
	Cgroup      string `json:"cgroup,omitempty"` // version: v1 or v2
	// Accelerator runs a guest's instructions: kvm, or tcg where they are emulated. Empty
	// on a machine that is no guest of lbmatrix.
	Accelerator string `json:"accelerator,omitempty"`
	// Slowdown is how many times longer than its host a guest took for a fixed piece of work.
	Slowdown float64 `json:"slowdown,omitempty"`
}

// acceleratorEmulation is qemu's emulation of a processor.
const acceleratorEmulation = "tcg"

// Emulated says whether the machine's processor is emulated, so that times on it say
// nothing of a real machine's.
func (m Machine) Emulated() bool { return m.Accelerator == acceleratorEmulation }
