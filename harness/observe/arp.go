// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// segmentInterface is the interface of client and observer on the segment.
const segmentInterface = "eth0"

// arpSettle is how long the sweep listens after its last broadcast (domain facts 6: 1 to 2 s).
const arpSettle = time.Second

// arpSpacing is between two broadcasts of a sweep at least. A thousand a second is what
// the instrument records without drops on a machine that other processes fill.
const arpSpacing = time.Millisecond

// observeARP broadcasts who-has for every VIP, for every node's own address (the
// positive control) and for the addresses that must be silent: one outside the pool, one
// of the pool that no Service was given, and that of the Service without endpoints.
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
	if e.settled != nil {
		if err := o.Write(journal.KindSettle, e.settled); err != nil {
			return err
		}
	}
	limits := e.Scenario.Spec.Limits
	return e.ask(ctx, o, observer, journal.StreamARP, targets, limits.ARPProbes)
}

// ask asks for each target count times, with the instrument of the stream's name: arp
// broadcasts who-has, ndp multicasts solicitations. The more of them there are the longer is a round.
func (e *Env) ask(ctx context.Context, o *journal.Observation, observer cluster.Host, stream string, targets []journal.Target, count int) error {
	interval := max(e.Scenario.Spec.Limits.ARPInterval.D(), time.Duration(len(targets))*arpSpacing)
	_, err := e.instrument(ctx, o, observer, stream, time.Duration(count)*interval+arpSettle, stream,
		"--interface", segmentInterface, "--target", strings.Join(addresses(targets), ","),
		"--count", strconv.Itoa(count), "--interval", interval.String(), "--settle", arpSettle.String())
	return err
}

func (e *Env) arpTargets(ctx context.Context) ([]journal.Target, error) {
	var objs journal.Objects
	if err := e.services(ctx, &objs); err != nil {
		return nil, err
	}
	var out []journal.Target
	for _, s := range objs.Services {
		kind := journal.TargetVIP
		if s.Role == journal.RoleIdle {
			kind = journal.TargetIdle
		}
		out = append(out, journal.Target{Name: s.VIP, Service: s.Name, Kind: kind, Address: s.VIP, Stream: journal.StreamARP})
	}
	out = append(out, e.nodeAddresses()...)
	spare, err := e.Spare(ctx)
	if err != nil {
		return nil, err
	}
	out = append(out, journal.Target{Name: spare, Kind: journal.TargetSpare, Address: spare, Stream: journal.StreamARP})
	if e.Unassigned.IsValid() {
		addr := e.Unassigned.String()
		out = append(out, journal.Target{Name: addr, Kind: journal.TargetUnassigned, Address: addr, Stream: journal.StreamARP})
	}
	return out, nil
}

// Spare is the highest address of the pool that no Service has been given.
func (e *Env) Spare(ctx context.Context) (string, error) {
	services, err := e.allServices(ctx)
	if err != nil {
		return "", err
	}
	return spareAddress(e.Topology.Pool, services)
}

func spareAddress(pool string, services []corev1.Service) (string, error) {
	first, last, _ := strings.Cut(pool, "-")
	low, err := netip.ParseAddr(first)
	high, err2 := netip.ParseAddr(last)
	if err := errors.Join(err, err2); err != nil {
		return "", fmt.Errorf("find a spare address in pool %q: %w", pool, err)
	}
	for a := high; a.IsValid() && a.Compare(low) >= 0; a = a.Prev() {
		if !slices.ContainsFunc(services, func(s corev1.Service) bool { return vipOf(s) == a.String() }) {
			return a.String(), nil
		}
	}
	return "", fmt.Errorf("find a spare address in pool %s: every address is given to a Service", pool)
}
