// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"bytes"
	"context"
	"encoding/json"
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
	return e.AnnouncerOf(ctx, e.Remote)
}

// AnnouncerOf names the node that alone answers for a Service's VIP. It is an error where
// there is no such node.
func (e *Env) AnnouncerOf(ctx context.Context, service string) (string, error) {
	services, err := e.Services(ctx)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(services, func(s journal.Service) bool { return s.Name == service })
	if i < 0 {
		return "", fmt.Errorf("no Service %s is under test", service)
	}
	n, answered, err := e.announcerOf(ctx, services[i].VIP)
	switch {
	case err != nil:
		return "", err
	case services[i].VIP == "":
		return "", fmt.Errorf("service %s has no load-balancer address", service)
	case n.Name == "":
		return "", fmt.Errorf("%s (%s) has no single announcer among the nodes (answered by %v)", services[i].VIP, service, answered)
	}
	return n.Name, nil
}

// announcerOf asks which node alone answers for a VIP, and who answered: no node where
// nobody, several, or a stranger did, or where there is no VIP. It asks again where nobody
// did, for a machine that stands still for the half second of a sweep answers nothing;
// whoever does answer is taken for what it is.
func (e *Env) announcerOf(ctx context.Context, vip string) (journal.Node, []string, error) {
	if vip == "" {
		return journal.Node{}, nil, nil
	}
	var answered []string
	asked := 0
	err := attempts(ctx, announcerAttempts, announcerPause, func() (bool, error) {
		found, err := e.Responders(ctx, []string{vip})
		if err != nil {
			return false, err
		}
		asked++
		answered = found[vip]
		return len(answered) > 0, nil
	})
	if err != nil {
		return journal.Node{}, nil, fmt.Errorf("ask who announces %s: %w", vip, err)
	}
	if asked > 1 && len(answered) > 0 {
		e.Progress(fmt.Sprintf("%s was answered only when it was asked for the %d. time", vip, asked))
	}
	node, _ := e.Announcer(answered)
	return node, answered, nil
}

// How often, and how far apart, the segment is asked for a VIP's announcer.
const (
	announcerAttempts = 4
	announcerPause    = 500 * time.Millisecond // before the second; it doubles
)

// attempts calls try until it is done or has failed, at most n times, with a pause between
// two calls that doubles. That the last was not done is no error.
func attempts(ctx context.Context, n int, pause time.Duration, try func() (done bool, err error)) error {
	for i := 1; ; i++ {
		done, err := try()
		if done || err != nil || i == n {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		pause *= 2
	}
}

// Services lists the LoadBalancer Services under test as they are now.
func (e *Env) Services(ctx context.Context) ([]journal.Service, error) {
	var objs journal.Objects
	err := e.services(ctx, &objs)
	return objs.Services, err
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
	e.settled, e.rest = nil, nil
	vips, err := e.answered(ctx)
	if err != nil || len(vips) == 0 {
		return nil, err // nobody can answer; the checks say that no VIP is assigned
	}
	stable := e.Scenario.Spec.Limits.StableFor.D()
	if pace.Of(ctx) > 1 {
		stable = max(stable, membershipStable)
	}
	record := &journal.Settle{WantedMS: stable.Milliseconds()}
	var last map[string][]string
	var since time.Time
	begun := time.Now()
	for deadline := begun.Add(limit); ; {
		asked := time.Now()
		found, err := e.Responders(ctx, vips)
		if err != nil {
			return last, err
		}
		changed := last == nil || !maps.EqualFunc(found, last, slices.Equal[[]string])
		if changed {
			record.Seen = append(record.Seen, journal.SettleChange{AtMS: asked.Sub(begun).Milliseconds(), Responders: found})
		}
		if changed || !want(found) {
			last, since = found, asked
		}
		record.StableMS, record.Stable = asked.Sub(since).Milliseconds(), want(found) && asked.Sub(since) >= stable
		if record.Stable || time.Now().After(deadline) {
			e.settled, e.rest = record, nil
			if record.Stable {
				e.rest = last
			}
			return last, nil
		}
	}
}

// Rested is Settle where the segment may be at rest already: one sweep that finds it as it was
// when it last came to rest, with the VIPs of then, is enough, whatever has happened in
// between. What speakers on a slow machine feign some seconds later it does not see, which a
// wait would only have made a little less likely in the minute that follows.
func (e *Env) Rested(ctx context.Context, limit time.Duration, want func(map[string][]string) bool) (map[string][]string, error) {
	vips, err := e.answered(ctx)
	if err != nil {
		return nil, err
	}
	if len(vips) > 0 && e.rest != nil {
		found, err := e.Responders(ctx, vips)
		if err != nil {
			return nil, err
		}
		if want(found) && maps.EqualFunc(found, e.rest, slices.Equal[[]string]) {
			e.settled = nil // nobody has waited
			return found, nil
		}
	}
	return e.Settle(ctx, limit, want)
}

// answered lists the VIPs that somebody is to answer for now.
func (e *Env) answered(ctx context.Context) ([]string, error) {
	services, err := e.Services(ctx)
	if err != nil {
		return nil, err
	}
	return assigned(services), nil
}

// assigned lists the VIPs that somebody is to answer for, of the Services that have one.
func assigned(services []journal.Service) []string {
	var out []string
	for _, s := range services {
		if s.VIP != "" && s.Role != journal.RoleIdle {
			out = append(out, s.VIP)
		}
	}
	return out
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
