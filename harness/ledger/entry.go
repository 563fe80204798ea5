// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package ledger records, before it is made, everything a run makes outside its
// results folder, so that a later `clean` can remove what a dead run left behind.
//
// There is one ledger file a worker process. The worker holds a lock on it for as
// long as it lives: a free lock means a dead run.
package ledger

// Kind says what an entry is, and so how it is removed.
type Kind string

// The kinds of entries.
const (
	Container Kind = "container"
	Network   Kind = "network"
	Volume    Kind = "volume"
	Process   Kind = "process"
	Directory Kind = "directory"
	File      Kind = "file"
)

// Entry is one thing that exists, or is about to exist, because of a run.
type Entry struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"` // container or network name, path, or a process' description
	// Host is the docker daemon a container, network or volume lives in (DOCKER_HOST).
	Host string `json:"host,omitempty"`
	// PID and StartTime (field 22 of /proc/PID/stat, clock ticks since boot) identify a
	// process: a pid alone may have been reused.
	PID       int    `json:"pid,omitempty"`
	StartTime uint64 `json:"startTime,omitempty"`
}
