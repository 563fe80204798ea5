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

const (
	takeoverInterval = 100 * time.Millisecond // between two who-has for one VIP
	takeoverRounds   = 80
	// takeoverLead is how long the observer asks before the VIPs change hands: that it did,
	// the unanswered who-has prove.
	takeoverLead = 1500 * time.Millisecond
)

// Takeover is an observation that goes on while VIPs change hands.
type Takeover struct {
	o    *journal.Observation
	done chan error
}

// BeginTakeover has the observer ask for every VIP, and listen for announcements, from now
// on. It returns when it must have begun.
func BeginTakeover(ctx context.Context, e *Env) (*Takeover, error) {
	o, err := e.Journal.Begin(journal.ObsTakeover)
	if err != nil {
		return nil, err
	}
	t := &Takeover{o: o, done: make(chan error, 1)}
	go func() { t.done <- e.takeover(ctx, o) }()
	select {
	case <-time.After(takeoverLead):
	case <-ctx.Done():
	}
	return t, nil
}

// End waits for the observer to have heard the VIPs out. As with Run, a failure to observe
// is written into the journal, and the error is only of the journal itself.
func (t *Takeover) End() error { return t.o.End(<-t.done) }

func (e *Env) takeover(ctx context.Context, o *journal.Observation) error {
	observer, err := e.Cluster.Observer(ctx)
	if err != nil {
		return fmt.Errorf("reach the observer: %w", err)
	}
	services, err := e.Services(ctx)
	if err != nil {
		return err
	}
	var targets []journal.Target
	var addrs []string
	for _, s := range services {
		if s.Role == journal.RoleIdle || s.VIP == "" {
			continue
		}
		targets = append(targets, journal.Target{Name: s.VIP, Service: s.Name, Kind: journal.TargetVIP, Address: s.VIP, Stream: journal.StreamTakeover})
		addrs = append(addrs, s.VIP)
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	_, err = e.instrument(ctx, o, observer, journal.StreamTakeover, takeoverRounds*takeoverInterval+arpSettle, "arp",
		"--interface", segmentInterface, "--target", strings.Join(addrs, ","),
		"--count", strconv.Itoa(takeoverRounds), "--interval", takeoverInterval.String(), "--settle", arpSettle.String())
	return err
}
