// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/pace"
	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// Responders asks once, by a short sweep of the observer, who answers for addresses
// right now. It is for the harness' own waits: no check is judged by it.
func (e *Env) Responders(ctx context.Context, addrs []string) (map[string][]string, error) {
	return e.sweep(ctx, addrs, 3, 100*time.Millisecond)
}

func (e *Env) sweep(ctx context.Context, addrs []string, count int, interval time.Duration) (map[string][]string, error) {
	observer, err := e.Cluster.Observer(ctx)
	if err != nil {
		return nil, fmt.Errorf("reach the observer: %w", err)
	}
	stdin, closeStdin, err := openStdin()
	if err != nil {
		return nil, err
	}
	defer closeStdin()
	var out bytes.Buffer
	err = observer.Run(ctx, cluster.Command{
		Path: e.Probe, Stdin: stdin, Stdout: &out,
		Args: []string{
			"arp", "--interface", segmentInterface, "--target", strings.Join(addrs, ","), "--count", fmt.Sprint(count),
			"--interval", interval.String(), "--settle", "200ms", "--deadline", pace.Scale(ctx, time.Minute).String(),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("sweep the segment: %w", err)
	}
	macs := map[string]map[string]bool{}
	for line := range bytes.Lines(out.Bytes()) {
		var rec probe.Record
		var reply probe.ARPReply
		if err := json.Unmarshal(line, &rec); err != nil {
			return nil, fmt.Errorf("sweep the segment: %w", err)
		}
		if rec.Kind != probe.KindARPReply {
			continue
		}
		if err := json.Unmarshal(rec.Body, &reply); err != nil {
			return nil, fmt.Errorf("sweep the segment: %w", err)
		}
		addr := reply.Target.String()
		if macs[addr] == nil {
			macs[addr] = map[string]bool{}
		}
		macs[addr][reply.SenderMAC] = true
	}
	found := map[string][]string{}
	for _, a := range addrs {
		found[a] = slices.Sorted(maps.Keys(macs[a]))
	}
	return found, nil
}

// RemoteAnnouncer names the node that answers for the Service whose backends are off it.
func (e *Env) RemoteAnnouncer(ctx context.Context) (string, error) {
	var objs journal.Objects
	if err := e.services(ctx, &objs); err != nil {
		return "", err
	}
	for _, s := range objs.Services {
		if !s.BackendsOffAnnouncer || s.VIP == "" {
			continue
		}
		found, err := e.Responders(ctx, []string{s.VIP})
		if err != nil {
			return "", err
		}
		n, ok := e.Announcer(found[s.VIP])
		if !ok {
			return "", fmt.Errorf("%s has no single announcer among the nodes (answered by %v)", s.VIP, found[s.VIP])
		}
		return n.Name, nil
	}
	return "", errors.New("no Service has its backends off its announcer")
}

// Spoken names the node that MetalLB's own status says announces a Service, "" while it
// says none: the word of the component, for a segment on which the wire names several.
func (e *Env) Spoken(ctx context.Context, service string) (string, error) {
	var objs journal.Objects
	if err := e.statuses(ctx, &objs); err != nil {
		return "", err
	}
	for _, s := range objs.L2Statuses {
		if s.Service == service {
			return s.Node, nil
		}
	}
	return "", nil
}

// Announcer names the node behind a single responder.
func (e *Env) Announcer(macs []string) (journal.Node, bool) {
	if len(macs) != 1 {
		return journal.Node{}, false
	}
	for _, n := range e.Topology.Nodes {
		if n.MAC == macs[0] {
			return n, true
		}
	}
	return journal.Node{}, false
}

// Settle waits until the VIPs' responders have been the same for the scenario's
// stableFor and are as wanted, at most limit. It returns what it saw last; a segment
// that never settles is not an error here: the checks will say what it did.
//
// Speakers that have not joined yet elect twice for 20-70 ms at boot, and a
// handover gives 30-200 ms of two honest answers.
func (e *Env) Settle(ctx context.Context, limit time.Duration, want func(map[string][]string) bool) (map[string][]string, error) {
	var objs journal.Objects
	if err := e.services(ctx, &objs); err != nil {
		return nil, err
	}
	var vips []string
	for _, s := range objs.Services {
		if s.VIP == "" {
			return nil, fmt.Errorf("settle: service %s has no load-balancer address", s.Name)
		}
		vips = append(vips, s.VIP)
	}
	stable := e.Scenario.Spec.Limits.StableFor.D()
	if pace.Of(ctx) > 1 {
		stable = max(stable, membershipStable)
	}
	var last map[string][]string
	var since time.Time
	for deadline := time.Now().Add(limit); ; {
		asked := time.Now()
		found, err := e.Responders(ctx, vips)
		if err != nil {
			return last, err
		}
		if last == nil || !maps.EqualFunc(found, last, slices.Equal[[]string]) || !want(found) {
			last, since = found, asked
		}
		if (want(found) && asked.Sub(since) >= stable) || time.Now().After(deadline) {
			return last, nil
		}
	}
}

// membershipStable is how long a segment must stay the same on a slow machine. Speakers
// there may miss the 500 ms within which memberlist wants its answers, and take for dead
// who is alive; some 8 s later two of them announce.
const membershipStable = 10 * time.Second

// Crowded is the segment on which every VIP has several responders.
func Crowded(found map[string][]string) bool {
	for _, macs := range found {
		if len(macs) < 2 {
			return false
		}
	}
	return len(found) > 0
}

// OneEach is the healthy segment: every VIP has exactly one responder.
func OneEach(found map[string][]string) bool {
	for _, macs := range found {
		if len(macs) != 1 {
			return false
		}
	}
	return true
}
