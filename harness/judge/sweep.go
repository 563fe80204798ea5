// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// sweep is one sweep by ARP or NDP, checked: nothing was dropped and the positive control held.
type sweep struct {
	topo     journal.Topology
	targets  []journal.Target
	sent     map[string]int            // target address -> who-has sent
	answered map[string]int            // target address -> who-has that got an answer
	replies  map[string]map[string]int // target address -> sender MAC -> replies
	foreign  map[string]string         // sender MAC -> differing Ethernet source, the lowest of several
	claims   map[string]map[string]int // target address -> sender MAC -> announcements that nobody asked for
	begun    int64                     // when the first who-has was sent, ns
	asked    map[string][]int64        // target address -> when its who-has were sent, ns
	seen     map[string]map[string]heard
	settle   *journal.Settle // how the segment came to rest before; nil where nobody waited for that
}

// heard is when a MAC's first and last answers for an address came, ns.
type heard struct{ first, last int64 }

func newSweep() sweep {
	return sweep{
		sent: map[string]int{}, answered: map[string]int{}, replies: map[string]map[string]int{}, foreign: map[string]string{},
		claims: map[string]map[string]int{}, asked: map[string][]int64{}, seen: map[string]map[string]heard{},
	}
}

// readSweep reads the phase's ARP sweep, which most checks look at. It is an error when
// frames may have been lost, or when the positive control failed: unless every node's own
// address was answered by that node, "nobody answers" means nothing.
func readSweep(f journal.Facts) (sweep, error) {
	return readSweepOf(f, journal.ObsARP)
}

// protocol is how an observation asks: ARP, or for IPv6 neighbour discovery.
func protocol(observation string) string {
	if observation == journal.ObsNDP {
		return journal.StreamNDP
	}
	return journal.StreamARP
}

func readSweepOf(f journal.Facts, observation string) (sweep, error) {
	return journal.Once(f, observation, func(f journal.Facts) (sweep, error) { return decodeSweep(f, observation) })
}

func decodeSweep(f journal.Facts, observation string) (sweep, error) {
	s := newSweep()
	span, err := f.Observation(observation)
	if err != nil {
		return s, err
	}
	if s.topo, err = f.Topology(); err != nil {
		return s, err
	}
	if s.targets, err = targets(f, span); err != nil {
		return s, err
	}
	settles, err := journal.Bodies[journal.Settle](span, journal.KindSettle)
	if err != nil {
		return s, err
	}
	if len(settles) > 1 {
		return s, fmt.Errorf("observation %s: %d records %s, want 1 at most", span.ID, len(settles), journal.KindSettle)
	}
	for i := range settles {
		s.settle = &settles[i]
	}
	run, err := span.Stream(protocol(observation))
	if err != nil {
		return s, err
	}
	frames, err := readFrames(run)
	if err != nil {
		return s, err
	}
	if err := s.count(frames); err != nil {
		return s, err
	}
	if err := s.control(); err != nil {
		return s, err
	}
	for _, t := range s.kind(journal.TargetVIP) {
		if t.Address == "" {
			return s, &unassignedError{t.Service}
		}
	}
	return s, nil
}

// frames are what an instrument recorded of a sweep.
type frames struct {
	probes     []probe.ARPProbe
	replies    []probe.ARPReply
	gratuitous []probe.ARPGratuitous
}

// readFrames reads the records of arp, or of ndp in the same form, and holds them to the
// instrument's totals.
func readFrames(run journal.Run) (f frames, err error) {
	var totals probe.ARPTotals
	if run.Stream == journal.StreamNDP {
		f, totals, err = readNDP(run)
	} else {
		f, totals, err = readARP(run)
	}
	switch {
	case err != nil:
		return f, err
	case totals.KernelDrops > 0:
		return f, fmt.Errorf("the kernel dropped %d %s frames: a responder may have been missed", totals.KernelDrops, strings.ToUpper(run.Stream))
	case len(f.replies) != totals.Replies:
		return f, fmt.Errorf("instrument %s: it counted %d replies and recorded %d", run.Stream, totals.Replies, len(f.replies))
	case len(f.gratuitous) != totals.Gratuitous:
		return f, fmt.Errorf("instrument %s: it counted %d announcements and recorded %d", run.Stream, totals.Gratuitous, len(f.gratuitous))
	}
	return f, nil
}

func readARP(run journal.Run) (f frames, totals probe.ARPTotals, err error) {
	if totals, err = journal.Totals[probe.ARPTotals](run); err != nil {
		return f, totals, err
	}
	if f.probes, err = journal.Items[probe.ARPProbe](run, probe.KindARPProbe); err != nil {
		return f, totals, err
	}
	if f.replies, err = journal.Items[probe.ARPReply](run, probe.KindARPReply); err != nil {
		return f, totals, err
	}
	f.gratuitous, err = journal.Items[probe.ARPGratuitous](run, probe.KindARPGratuitous)
	return f, totals, err
}

// readNDP reads advertisements as answers: who claims an address is whose link-layer
// address the option names, or where there is none the frame's source (RFC 4861 7.2.4).
func readNDP(run journal.Run) (f frames, totals probe.ARPTotals, err error) {
	ndp, err := journal.Totals[probe.NDPTotals](run)
	if err != nil {
		return f, totals, err
	}
	totals = probe.ARPTotals{Replies: ndp.Replies, Gratuitous: ndp.Unsolicited, KernelDrops: ndp.KernelDrops}
	probes, err := journal.Items[probe.NDPProbe](run, probe.KindNDPProbe)
	if err != nil {
		return f, totals, err
	}
	for _, p := range probes {
		f.probes = append(f.probes, probe.ARPProbe(p))
	}
	replies, err := journal.Items[probe.NDPReply](run, probe.KindNDPReply)
	if err != nil {
		return f, totals, err
	}
	for _, r := range replies {
		f.replies = append(f.replies, probe.ARPReply{
			Probe: r.Probe, Target: r.Target, SenderMAC: cmp.Or(r.TargetMAC, r.EthernetSource), EthernetSource: r.EthernetSource,
			SentNS: r.SentNS, ReceivedNS: r.ReceivedNS, VLAN: r.VLAN,
		})
	}
	unsolicited, err := journal.Items[probe.NDPUnsolicited](run, probe.KindNDPUnsolicited)
	for _, u := range unsolicited {
		f.gratuitous = append(f.gratuitous, probe.ARPGratuitous{Address: u.Address, SenderMAC: cmp.Or(u.TargetMAC, u.EthernetSource)})
	}
	return f, totals, err
}

func (s *sweep) count(all frames) error {
	frames := map[string][]probe.Frame{} // by target address, in the order they were recorded
	for _, g := range all.gratuitous {
		increment(s.claims, g.Address.String(), strings.ToLower(g.SenderMAC))
	}
	for i, p := range all.probes {
		if p.Error != "" {
			return fmt.Errorf("send who-has %s: %s", p.Target, p.Error)
		}
		addr := p.Target.String()
		s.sent[addr]++
		s.asked[addr] = append(s.asked[addr], p.SentNS)
		if i == 0 || p.SentNS < s.begun {
			s.begun = p.SentNS
		}
		frames[addr] = append(frames[addr], probe.Frame{At: p.SentNS})
	}
	for _, r := range all.replies {
		addr := r.Target.String()
		mac := strings.ToLower(r.SenderMAC)
		increment(s.replies, addr, mac)
		s.hear(addr, mac, r.ReceivedNS)
		frames[addr] = append(frames[addr], probe.Frame{At: r.ReceivedNS, Reply: true})
		// Not the last one: what happened at the same time is in no order.
		if eth := strings.ToLower(r.EthernetSource); eth != mac && (s.foreign[mac] == "" || eth < s.foreign[mac]) {
			s.foreign[mac] = eth
		}
	}
	for addr, f := range frames {
		s.answered[addr] = probe.Answered(f)
	}
	return nil
}

func increment(m map[string]map[string]int, a, b string) {
	if m[a] == nil {
		m[a] = map[string]int{}
	}
	m[a][b]++
}

func (s *sweep) hear(addr, mac string, at int64) {
	if s.seen[addr] == nil {
		s.seen[addr] = map[string]heard{}
	}
	h, again := s.seen[addr][mac]
	if !again {
		h = heard{at, at}
	}
	s.seen[addr][mac] = heard{min(h.first, at), max(h.last, at)}
}

// control is the positive control of every ARP verdict.
func (s *sweep) control() error {
	controls := 0
	for _, t := range s.targets {
		if t.Kind != journal.TargetNodeAddress {
			continue
		}
		controls++
		i := slices.IndexFunc(s.topo.Nodes, func(n journal.Node) bool { return n.Name == t.Node })
		if i < 0 {
			return fmt.Errorf("positive control: %s is no node of the topology", t.Node)
		}
		if got, sent := s.replies[t.Address][s.topo.Nodes[i].MAC], s.sent[t.Address]; sent == 0 || float64(got) < minAnswered*float64(sent) {
			return fmt.Errorf("positive control: node %s answered %d of %d broadcasts for its own address %s, so silence proves nothing",
				t.Node, got, sent, t.Address)
		}
	}
	if controls == 0 || controls != len(s.topo.Nodes) {
		return fmt.Errorf("positive control: %d of %d node addresses were asked for", controls, len(s.topo.Nodes))
	}
	return nil
}

// kind lists the sweep's targets of a kind.
func (s sweep) kind(kind string) []journal.Target {
	var out []journal.Target
	for _, t := range s.targets {
		if t.Kind == kind {
			out = append(out, t)
		}
	}
	return out
}

// macs lists who answered for an address, sorted.
func (s sweep) macs(addr string) []string {
	return slices.Sorted(maps.Keys(s.replies[addr]))
}

// responder is the one MAC that answered for an address.
func (s sweep) responder(addr string) (string, bool) {
	macs := s.macs(addr)
	if len(macs) != 1 {
		return "", false
	}
	return macs[0], true
}

// name says who owns a MAC, for people.
func (s sweep) name(mac string) string {
	if n, ok := nodeByMAC(s.topo, mac); ok {
		return fmt.Sprintf("%s (%s)", mac, n.Name)
	}
	return mac + " (no node)"
}

// detectableShare is the smallest share of broadcasts that a second responder must
// answer to be seen at least once in n independent broadcasts with p >= 0.99:
// 1 - 0.01^(1/n).
func detectableShare(n int) float64 {
	if n <= 0 {
		return 1
	}
	return 1 - math.Pow(0.01, 1/float64(n))
}

func startArgs[T any](run journal.Run) (T, error) {
	var v T
	if err := json.Unmarshal(run.Start.Args, &v); err != nil {
		return v, fmt.Errorf("instrument %s: decode its arguments: %w", run.Stream, err)
	}
	return v, nil
}
