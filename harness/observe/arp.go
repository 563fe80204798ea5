// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// segmentInterface is the interface of client and observer on the segment.
const segmentInterface = "eth0"

// arpSettle is how long the sweep listens after its last broadcast (domain facts 6: 1 to 2 s).
const arpSettle = time.Second

// observeARP broadcasts who-has for every VIP, for every node's own address (the
// positive control) and for an address nobody has (the negative one).
func observeARP(ctx context.Context, e *Env, o *journal.Observation) error {
	observer, err := e.Cluster.Observer(ctx)
	if err != nil {
		return fmt.Errorf("reach the observer: %w", err)
	}
	targets, err := e.arpTargets(ctx)
	if err != nil {
		return err
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	limits := e.Scenario.Spec.Limits
	var addrs []string
	for _, t := range targets {
		if t.Address != "" { // a Service without a VIP: nothing to ask for
			addrs = append(addrs, t.Address)
		}
	}
	work := time.Duration(limits.ARPProbes)*limits.ARPInterval.D() + arpSettle
	_, err = e.instrument(ctx, o, observer, journal.StreamARP, work, "arp",
		"--interface", segmentInterface, "--target", strings.Join(addrs, ","),
		"--count", strconv.Itoa(limits.ARPProbes), "--interval", limits.ARPInterval.D().String(), "--settle", arpSettle.String())
	return err
}

func (e *Env) arpTargets(ctx context.Context) ([]journal.Target, error) {
	var objs journal.Objects
	if err := e.services(ctx, &objs); err != nil {
		return nil, err
	}
	var out []journal.Target
	for _, s := range objs.Services {
		out = append(out, journal.Target{Name: s.VIP, Service: s.Name, Kind: journal.TargetVIP, Address: s.VIP, Stream: journal.StreamARP})
	}
	for _, n := range e.Topology.Nodes {
		out = append(out, journal.Target{Name: n.Name, Kind: journal.TargetNodeAddress, Address: n.Address, Node: n.Name, Stream: journal.StreamARP})
	}
	if e.Unassigned.IsValid() {
		addr := e.Unassigned.String()
		out = append(out, journal.Target{Name: addr, Kind: journal.TargetUnassigned, Address: addr, Stream: journal.StreamARP})
	}
	return out, nil
}
