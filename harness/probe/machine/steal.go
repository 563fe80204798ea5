// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package machine says what the machine an instrument runs on kept from it.
package machine

import "github.com/prometheus/procfs"

// CPUTime is what the machine's CPUs have done since it was started, in seconds.
type CPUTime struct{ all, steal float64 }

// ReadCPU reads /proc/stat. Where there is none, the ratio is 0: it explains a client
// that was late and decides nothing.
func ReadCPU() CPUTime {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return CPUTime{}
	}
	stat, err := fs.Stat()
	if err != nil {
		return CPUTime{}
	}
	c := stat.CPUTotal // guest time is part of user time: proc_stat(5)
	return CPUTime{
		all:   c.User + c.Nice + c.System + c.Idle + c.Iowait + c.IRQ + c.SoftIRQ + c.Steal,
		steal: c.Steal,
	}
}

// StealRatio is the share of the CPU time between c and later, idle time included,
// that the hypervisor gave to others although this machine had work.
func (c CPUTime) StealRatio(later CPUTime) float64 {
	all := later.all - c.all
	if all <= 0 {
		return 0
	}
	return max(0, later.steal-c.steal) / all
}
