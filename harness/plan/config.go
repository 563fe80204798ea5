// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package plan compiles a scenario to named steps and runs them in a worker
// process of its own: kind and Helm calls cannot be cancelled, but a worker can be
// killed, and the ledger says what it left.
package plan

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/pace"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// Keep says when a cluster outlives its run.
type Keep string

// When to keep a cluster.
const (
	KeepNever     Keep = "never"
	KeepOnFailure Keep = "on-failure"
	KeepAlways    Keep = "always"
)

// ParseKeep reads the value of --keep.
func ParseKeep(s string) (Keep, error) {
	switch k := Keep(s); k {
	case KeepNever, KeepOnFailure, KeepAlways:
		return k, nil
	}
	return "", fmt.Errorf("--keep %s: want never, on-failure or always", s)
}

// ConfigFile is the name of a worker's configuration in its scenario's folder.
const ConfigFile = "worker.json"

// Config is everything a worker is told.
type Config struct {
	Scenario *scenario.Scenario `json:"scenario"`
	RunID    string             `json:"runID"`
	Dir      string             `json:"dir"` // the scenario's folder, absolute
	Keep     Keep               `json:"keep"`
	// Provider makes the cluster: kind or netns. What only one of them needs is empty for
	// the other.
	Provider string `json:"provider"`
	// Programs are paths by program name, for netns.
	Programs map[string]string `json:"programs,omitempty"`
	// DockerHost is the daemon to use (DOCKER_HOST).
	DockerHost string `json:"dockerHost"`
	// Images are references in that daemon.
	ControlPlaneImage string `json:"controlPlaneImage"`
	WorkerImage       string `json:"workerImage"`
	ClientImage       string `json:"clientImage"`  // of client and observer
	BackendImage      string `json:"backendImage"` // of the backend pods, baked into the nodes
	ProbeBinary       string `json:"probeBinary"`  // lbprobe on this host
	// Charts are chart directories by component.
	Charts map[string]string `json:"charts"`
	// Mutations limits the run.
	Mutations Mutations         `json:"mutations,omitzero"`
	Versions  map[string]string `json:"versions"`
	// Machine is the guest that the run is in; nil on the host.
	Machine   *journal.Machine `json:"machine,omitempty"`
	LedgerDir string           `json:"ledgerDir"`
}

// where is where the run is.
func (c Config) where() string {
	if c.Machine != nil {
		return journal.WhereGuest
	}
	return journal.WhereHost
}

// paced gives a context the pace of the run's machine, by which its limits are stretched.
func (c Config) paced(ctx context.Context) context.Context {
	if c.Machine == nil {
		return ctx
	}
	return pace.With(ctx, c.Machine.Slowdown)
}

// WriteConfig stores a worker's configuration.
func WriteConfig(path string, c Config) error {
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("write worker configuration: %w", err)
	}
	if err := os.WriteFile(path, append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("write worker configuration: %w", err)
	}
	return nil
}

// ReadConfig loads a worker's configuration.
func ReadConfig(path string) (Config, error) {
	var c Config
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil {
		return c, fmt.Errorf("read worker configuration: %w", err)
	}
	return c, nil
}
