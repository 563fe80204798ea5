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
			"--interval", interval.String(), "--settle", "200ms", "--deadline", "60s",
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
// that never settles is not an error here: the checks will say what it did. A Service
// without a VIP is left out.
//
// Speakers that have not joined yet elect twice for 20-70 ms at boot, and a
// handover gives 30-200 ms of two honest answers.
func (e *Env) Settle(ctx context.Context, limit time.Duration, want func(map[string][]string) bool) (map[string][]string, error) {
	var objs journal.Objects
	if err := e.services(ctx, &objs); err != nil {
		return nil, err
	}
	vips := assigned(objs)
	if len(vips) == 0 {
		return nil, nil // nobody can answer; the checks say that no VIP is assigned
	}
	stable := e.Scenario.Spec.Limits.StableFor.D()
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

// assigned lists the VIPs of the Services that have one.
func assigned(objs journal.Objects) []string {
	var out []string
	for _, s := range objs.Services {
		if s.VIP != "" {
			out = append(out, s.VIP)
		}
	}
	return out
}

// OneEach is the healthy segment: there are VIPs, and every one has exactly one responder.
func OneEach(found map[string][]string) bool {
	if len(found) == 0 {
		return false
	}
	for _, macs := range found {
		if len(macs) != 1 {
			return false
		}
	}
	return true
}
