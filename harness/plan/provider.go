// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/cluster/kind"
	"github.com/lbmatrix/lbmatrix/harness/cluster/netns"
	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// provided is what the plan asks of whoever runs a cluster, beyond what everybody may.
type provided interface {
	cluster.Cluster
	// Timings says how long the steps of the bring-up took.
	Timings() []cluster.Timing
	// WaitReady waits for what the bring-up left under way: Services work on every node.
	WaitReady(ctx context.Context) error
	// WaitGone verifies that nothing is left of a cluster that was deleted.
	WaitGone(ctx context.Context) error
	// Keep makes the cluster outlive this process, and Reach says how to use it then.
	Keep(ctx context.Context) error
	Reach() string
	// Probe is the path of lbprobe on client and observer.
	Probe() string
	// NodeProbe is the path of lbprobe on nodes.
	NodeProbe() string
}

// supervised is a cluster whose control plane this process runs.
type supervised interface {
	// Died says what of the control plane ended by itself, with the end of its log.
	Died() error
}

// networked is a cluster whose pods are connected by a component.
type networked interface {
	// ControlPlaneAddress is where the API server is, without any Service.
	ControlPlaneAddress(ctx context.Context) (netip.Addr, error)
	// WaitNetwork waits until the component has connected the nodes.
	WaitNetwork(ctx context.Context) error
}

var (
	_ provided  = (*kind.Cluster)(nil)
	_ provided  = (*netns.Cluster)(nil)
	_ networked = (*kind.Cluster)(nil)

	_ supervised = (*netns.Cluster)(nil)
)

// newCluster lets the provider create the cluster. What there is, is returned beside an
// error too.
func (w *worker) newCluster(ctx context.Context) (provided, error) {
	progress := func(msg string) { w.progress("%s", msg) }
	switch w.Provider {
	case scenario.ProviderNetns:
		c, err := netns.Create(ctx, netns.Options{
			Name: w.clusterName(), Scenario: w.Scenario, Programs: w.Programs,
			Ledger: w.ledger, Dir: w.Dir, Log: w.log, Progress: progress,
			// It may come when the journal has been closed: then people are told alone.
			Crashed: func(msg string) { _ = w.note("crash", msg) },
		})
		if c == nil {
			return nil, err
		}
		return c, err
	case scenario.ProviderKind:
		c, err := kind.Create(ctx, kind.Options{
			Name: w.clusterName(), Scenario: w.Scenario, Docker: &docker.Client{Host: w.DockerHost},
			Images:      kind.Images{ControlPlane: w.ControlPlaneImage, Worker: w.WorkerImage, Probe: w.ClientImage},
			ProbeBinary: w.ProbeBinary, Ledger: w.ledger, RunID: w.RunID, Dir: w.Dir, Log: w.log, Progress: progress,
		})
		if c == nil {
			return nil, err
		}
		return c, err
	}
	return nil, fmt.Errorf("create cluster: no provider %q", w.Provider)
}

// timeLine journals when each step of the bring-up began and how long it took, in seconds,
// by the time they began, and tells the parent, who keeps it in run.json.
func (w *worker) timeLine() error {
	all := w.world.cluster.Timings()
	if len(all) == 0 {
		return nil
	}
	slices.SortStableFunc(all, func(a, b cluster.Timing) int { return a.Began.Compare(b.Began) })
	var parts []string
	for _, t := range all {
		began := t.Began.Sub(all[0].Began)
		parts = append(parts, fmt.Sprintf("%s %.1f+%.1fs", t.Name, began.Seconds(), t.Elapsed.Seconds()))
		w.events.emit(Event{Type: Timed, Step: t.Name, Began: began.Milliseconds(), Elapsed: t.Elapsed.Milliseconds(), After: t.After})
	}
	return w.journal.Write(journal.KindNote, map[string]string{"bring-up": strings.Join(parts, ", ")})
}
