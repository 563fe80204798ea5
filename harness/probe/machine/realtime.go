// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package machine

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// realtimePriority is the lowest there is: enough to go before everything that is not
// realtime itself (sched(7)).
const realtimePriority = 1

// Realtime tells whether the calling thread is scheduled before all that is not.
func Realtime() bool {
	attr, err := unix.SchedGetAttr(0, 0)
	return err == nil && attr.Policy == unix.SCHED_RR
}

// MakeRealtime starts the program again with all of its threads under SCHED_RR, and so
// returns only an error: who measures must not wait for a turn of the scheduler. It needs
// CAP_SYS_NICE. A thread's policy goes to the threads it makes, but the runtime has made
// some already; hence the new start. A program that runs away leaves others a twentieth
// of each second (sched_rt_runtime_us).
func MakeRealtime() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: realtimePriority}
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		return fmt.Errorf("ask for realtime scheduling: %w", err)
	}
	if err := syscall.Exec("/proc/self/exe", os.Args, os.Environ()); err != nil {
		return fmt.Errorf("start again with realtime scheduling: %w", err)
	}
	return nil // not reached
}
