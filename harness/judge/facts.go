// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// objects returns what an observation recorded of the API objects.
func objects(f journal.Facts, observation string) (journal.Objects, error) {
	span, err := f.Observation(observation)
	if err != nil {
		return journal.Objects{}, err
	}
	return journal.One[journal.Objects](span, journal.KindObjects)
}

// readPaths returns what an observation measured. It is an error that is a verdict of its
// own where there was nothing to measure: a Service without a VIP, or a VIP without one
// node that announces it. Whether that was so is read again from who answered.
func readPaths(f journal.Facts, s journal.Span) (journal.Paths, error) {
	paths, err := journal.One[journal.Paths](s, journal.KindPaths)
	if err != nil || paths.Unmeasured == nil {
		return paths, err
	}
	u := *paths.Unmeasured
	if u.VIP == "" {
		return paths, &unassignedError{u.Service}
	}
	topo, err := f.Topology()
	if err != nil {
		return paths, err
	}
	if len(u.AnsweredBy) == 1 {
		if n, ok := nodeByMAC(topo, u.AnsweredBy[0]); ok {
			return paths, fmt.Errorf("%s was not measured although %s alone answered for it", u.VIP, n.Name)
		}
	}
	return paths, &unannouncedError{u}
}

// targets returns an observation's targets.
func targets(f journal.Facts, s journal.Span) ([]journal.Target, error) {
	paths, err := readPaths(f, s)
	return paths.Targets, err
}

// The Services under test, by what they are for.
const (
	forCluster = "Cluster" // externalTrafficPolicy Cluster
	forLocal   = "Local"   // externalTrafficPolicy Local
	forRemote  = "remote"  // policy Cluster, no backend on the announcer
)

// service finds a Service by what it is for: one of the above, or a journal.Role.
func service(objs journal.Objects, purpose string) (journal.Service, error) {
	for _, s := range objs.Services {
		if purposeOf(s) == purpose {
			return s, nil
		}
	}
	return journal.Service{}, fmt.Errorf("no Service for the purpose %q was recorded", purpose)
}

func purposeOf(s journal.Service) string {
	switch {
	case s.Role != "":
		return s.Role
	case s.BackendsOffAnnouncer:
		return forRemote
	}
	return s.ExternalTrafficPolicy
}

// readyBackends lists the pods that are ready endpoints of a Service, by name.
func readyBackends(objs journal.Objects, service string) map[string]journal.Backend {
	out := map[string]journal.Backend{}
	for _, b := range objs.Backends {
		if b.Service == service {
			out[b.Pod] = b
		}
	}
	return out
}

// nodeByMAC finds the node that owns a MAC on the segment.
func nodeByMAC(t journal.Topology, mac string) (journal.Node, bool) {
	for _, n := range t.Nodes {
		if n.MAC == mac {
			return n, true
		}
	}
	return journal.Node{}, false
}

// load is one load run: its totals, and histograms and peers by target.
type load struct {
	totals     probe.LoadTotals
	histograms map[string]map[string]probe.LoadHistogram // target -> histogram name
	peers      map[string]probe.LoadPeers
	errors     map[string][]probe.LoadError
	args       probe.LoadArgs
}

// loadRun reads one load run of an observation and holds its records to its totals.
func loadRun(s journal.Span, stream string) (load, error) {
	l := load{
		histograms: map[string]map[string]probe.LoadHistogram{},
		peers:      map[string]probe.LoadPeers{}, errors: map[string][]probe.LoadError{},
	}
	run, err := s.Stream(stream)
	if err != nil {
		return l, err
	}
	if l.args, err = startArgs[probe.LoadArgs](run); err != nil {
		return l, err
	}
	if c := l.args.Connections; c > 0 && c < l.args.MaxInFlight {
		return l, fmt.Errorf("run %s made requests wait for one of %d connections: how late its client was cannot be told from that", stream, c)
	}
	if l.totals, err = journal.Totals[probe.LoadTotals](run); err != nil {
		return l, err
	}
	hists, err := journal.Items[probe.LoadHistogram](run, probe.KindLoadHistogram)
	if err != nil {
		return l, err
	}
	for _, h := range hists {
		if l.histograms[h.Target] == nil {
			l.histograms[h.Target] = map[string]probe.LoadHistogram{}
		}
		l.histograms[h.Target][h.Name] = h
	}
	peers, err := journal.Items[probe.LoadPeers](run, probe.KindLoadPeers)
	if err != nil {
		return l, err
	}
	for _, p := range peers {
		l.peers[p.Target] = p
	}
	errs, err := journal.Items[probe.LoadError](run, probe.KindLoadError)
	if err != nil {
		return l, err
	}
	for _, e := range errs {
		l.errors[e.Target] = append(l.errors[e.Target], e)
	}
	if got := int64(len(errs)); got != l.totals.Errors {
		return l, fmt.Errorf("instrument %s: it counted %d errors and recorded %d", stream, l.totals.Errors, got)
	}
	return l, nil
}

// target returns the totals of one target; it must have been asked at least once.
func (l load) target(name string) (probe.LoadTotals, error) {
	t, ok := l.totals.Targets[name]
	if !ok || t.Scheduled == 0 {
		return t, fmt.Errorf("target %s: no request was sent", name)
	}
	return t, nil
}
