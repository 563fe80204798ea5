// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package job is what a guest and its host say to each other: the job on the guest's
// third disk, events on its second serial line, and what comes back on its second disk.
package job

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Command is the first argument that makes lbmatrix do a guest's job.
const Command = "lbmatrix-guest"

// Where things are in a guest.
const (
	Carried    = "/lbmatrix"      // the third disk, read only
	Work       = "/work"          // the command's working folder
	ResultDisk = "/dev/vdb"       // the second disk: an archive is written to it as it is
	EventLine  = "/dev/ttyS1"     // the second serial line
	CacheDir   = "cache"          // below Carried: the artifact store
	WorkDir    = "work"           // below Carried: what the working folder begins with
	Binaries   = "bin"            // below Carried: lbmatrix
	FileName   = "job.json"       // below Carried
	ResultsDir = "results"        // below Work: what is brought back
	HereEnv    = "LBMATRIX_GUEST" // a Place as JSON
)

// Job is what a guest is to do.
type Job struct {
	Args []string `json:"args"` // of lbmatrix
	// Accelerator is what runs the guest's instructions: kvm, or tcg for emulation.
	Accelerator string `json:"accelerator"`
	// HostPace is how long the measure of package pace took on the host.
	HostPace time.Duration `json:"hostPaceNS"`
	// Allowance is how long the command may take on a machine as fast as the host. The
	// guest stretches it by how much slower it is; Limit, when not 0, stands for both.
	Allowance time.Duration `json:"allowanceNS"`
	Limit     time.Duration `json:"limitNS,omitempty"`
}

// Write stores a job in a folder.
func (j Job) Write(dir string) error {
	raw, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return fmt.Errorf("write job: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, FileName), append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("write job: %w", err)
	}
	return nil
}

// Read loads the job of a folder.
func Read(dir string) (Job, error) {
	var j Job
	raw, err := os.ReadFile(filepath.Join(dir, FileName))
	if err == nil {
		err = json.Unmarshal(raw, &j)
	}
	if err != nil {
		return j, fmt.Errorf("read job: %w", err)
	}
	return j, nil
}

// Place says of a guest what its programs must know of where they run.
type Place struct {
	Accelerator string `json:"accelerator"`
	// Slowdown is how many times longer than on the host the measure of package pace took.
	Slowdown float64 `json:"slowdown"`
}

// Emulated says whether the guest's instructions are emulated, so that its times say
// nothing of a real machine's.
func (p Place) Emulated() bool { return p.Accelerator != AcceleratorKVM }

// The accelerators.
const (
	AcceleratorKVM = "kvm"
	AcceleratorTCG = "tcg"
)

// Here is the guest this process runs in; ok is false on any other machine.
func Here() (p Place, ok bool, err error) {
	text := os.Getenv(HereEnv)
	if text == "" {
		return p, false, nil
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return p, false, fmt.Errorf("read %s: %w", HereEnv, err)
	}
	return p, true, nil
}
