// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import "github.com/prometheus/procfs"

// cpuTime is what the machine's CPUs have done since it was started, in seconds.
type cpuTime struct{ all, steal float64 }

// readCPU reads /proc/stat. Where there is none, the ratio is 0: it explains a client
// that was late and decides nothing.
func readCPU() cpuTime {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return cpuTime{}
	}
	stat, err := fs.Stat()
	if err != nil {
		return cpuTime{}
	}
	c := stat.CPUTotal // guest time is part of user time: proc_stat(5)
	return cpuTime{
		all:   c.User + c.Nice + c.System + c.Idle + c.Iowait + c.IRQ + c.SoftIRQ + c.Steal,
		steal: c.Steal,
	}
}

// stealRatio is the share of the CPU time between c and later, idle time included,
// that the hypervisor gave to others although this machine had work.
func (c cpuTime) stealRatio(later cpuTime) float64 {
	all := later.all - c.all
	if all <= 0 {
		return 0
	}
	return max(0, later.steal-c.steal) / all
}
