// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func directServerReturn() Check {
	return Check{
		ID: "direct-server-return", Family: "traffic",
		Title: "Replies come by the path of the forwarding mode",
		Why: "DSR that is configured and not in force looks like DSR in every status an operator reads: kubespray 2.28.0 to 2.29.0 rendered the Helm key " +
			"loadbalancer instead of loadBalancer, and Cilium ran SNAT (kubespray #12701).",
		Method: "The client records the frames of its 40 connections and 40 datagrams to the VIP whose backends are all off the announcer. Every SYN must go to " +
			"the announcer's MAC. With DSR every SYN-ACK must come from the MAC of a node that has a backend; with SNAT from the announcer's; hybrid: TCP " +
			"as DSR, UDP as SNAT. As many connections must be recorded as were made, and the kernel must have dropped no frame. A share q of connections " +
			"that take the other path is missed with probability (1-q)^n: 40 miss one in ten with p = 0.015.",
		Needs: []string{journal.ObsReplyPath, journal.ObsARP, journal.ObsAnnouncement},
		Codes: []string{
			"ok", "no-single-responder", "request-off-announcer", "no-reply", "reply-path=announcer", "reply-path=backend", "reply-path=other", "reply-path=mixed",
			"udp-no-reply", "udp-reply-path=announcer", "udp-reply-path=backend", "udp-reply-path=other", "udp-reply-path=mixed",
		},
		Judge: judgeReplyPath,
	}
}

// The ends a reply can come from.
const (
	fromAnnouncer = "announcer"
	fromBackend   = "backend"
	fromOther     = "other"
)

func judgeReplyPath(f journal.Facts, sc scenario.Scenario) Verdict {
	a, err := readAnnounced(f)
	if err != nil {
		return broken(err)
	}
	remote, err := service(a.objs, forRemote)
	if err != nil {
		return broken(err)
	}
	if remote.VIP == "" {
		return broken(&unassignedError{remote.Name})
	}
	i := slices.IndexFunc(a.vips, func(v vipAnswer) bool { return v.target.Service == remote.Name })
	if i < 0 {
		return broken(fmt.Errorf("nobody was asked who answers for %s", remote.VIP))
	}
	answer := a.vips[i]
	if answer.node.Name == "" {
		return fail("no-single-responder", "%s", answer.told)
	}
	// Which node may return a reply directly, by its MAC.
	backends := map[string]bool{}
	for _, b := range a.objs.Backends {
		if b.Service != remote.Name {
			continue
		}
		if b.Node == answer.node.Name {
			return broken(fmt.Errorf("%s has a backend on its announcer %s, so the two paths cannot be told apart", remote.Name, b.Node))
		}
		for _, n := range a.topo.Nodes {
			if n.Name == b.Node {
				backends[n.MAC] = true
			}
		}
	}
	if len(backends) == 0 {
		return broken(fmt.Errorf("%s has no ready backend", remote.Name))
	}
	flows, err := readFlows(f, remote)
	if err != nil {
		return broken(err)
	}
	direct := map[string]bool{
		"tcp": sc.Spec.DataPlane.Forwarding != scenario.ForwardingSNAT,
		"udp": sc.Spec.DataPlane.Forwarding == scenario.ForwardingDSR,
	}
	v := pass("")
	var words []string
	for _, proto := range []string{"tcp", "udp"} {
		want := fromAnnouncer
		if direct[proto] {
			want = fromBackend
		}
		path := flows.path(proto, answer.mac, backends)
		v = v.with(path.figures(proto)...)
		if code, msg := path.verdict(want); code != "" {
			if proto == "udp" {
				code = "udp-" + code
			}
			return fail(code, "%s to %s (announcer %s, %s): %s", proto, remote.VIP, answer.node.Name, answer.mac, msg).with(v.Figures...)
		}
		words = append(words, fmt.Sprintf("%s: %d requests to %s, replies from %s (%s)", proto, path.requests, answer.mac,
			strings.Join(slices.Sorted(maps.Keys(path.macs)), ", "), want))
	}
	v.Message = strings.Join(words, "; ")
	return v
}

// flow is one connection, or one datagram and its echo: the MAC that the first request
// went to, and the one that the first reply came from.
type flow struct{ to, from string }

// flows are by protocol, and by what tells two of them apart: a TCP connection's port and
// first sequence number, which repeated SYNs share, and a datagram's port and how many
// came from it before.
type flows struct {
	by   map[string]map[string]flow
	sent map[int]int // datagrams by port
}

// readFlows reads the frames of the reply-path observation, and holds them to what the
// load run says it sent.
func readFlows(f journal.Facts, remote journal.Service) (flows, error) {
	span, err := f.Observation(journal.ObsReplyPath)
	if err != nil {
		return flows{}, err
	}
	run, err := span.Stream(journal.StreamCapture)
	if err != nil {
		return flows{}, err
	}
	totals, err := journal.Totals[probe.CaptureTotals](run)
	if err != nil {
		return flows{}, err
	}
	frames, err := journal.Items[probe.CaptureFrame](run, probe.KindCaptureFrame)
	if err != nil {
		return flows{}, err
	}
	if totals.KernelDrops > 0 || len(frames) != totals.Frames {
		return flows{}, fmt.Errorf("the kernel dropped %d frames, and %d of %d are recorded", totals.KernelDrops, len(frames), totals.Frames)
	}
	all := flows{by: map[string]map[string]flow{"tcp": {}, "udp": {}}, sent: map[int]int{}}
	for _, frame := range frames {
		all.add(frame, remote)
	}
	for _, sent := range [][2]string{{"tcp", journal.StreamReplyTCP}, {"udp", journal.StreamReplyUDP}} {
		proto := sent[0]
		l, err := loadRun(span, sent[1])
		if err != nil {
			return flows{}, err
		}
		t, err := l.target(remote.Name)
		if err != nil {
			return flows{}, err
		}
		if t.Dropped+t.Cancelled > 0 || int64(len(all.by[proto])) != t.Scheduled {
			return flows{}, fmt.Errorf("%d %s requests were to be sent, %d never were, and %d are in the capture", t.Scheduled, proto, t.Dropped+t.Cancelled, len(all.by[proto]))
		}
	}
	return all, nil
}

// add notes a frame's part in its flow: the first of a kind counts, repetitions of a
// SYN and of its answer go the same way.
func (a flows) add(frame probe.CaptureFrame, remote journal.Service) {
	p := gopacket.NewPacket(frame.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
	ether, ok := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if !ok {
		return
	}
	ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !ok {
		return
	}
	request := frame.Outgoing && ip.DstIP.String() == remote.VIP
	if !request && (frame.Outgoing || ip.SrcIP.String() != remote.VIP) {
		return
	}
	proto, key := "", ""
	switch t := p.TransportLayer().(type) {
	case *layers.TCP:
		proto = "tcp"
		switch {
		case request && int(t.DstPort) == remote.Port && !t.ACK:
			key = fmt.Sprintf("%d/%d", t.SrcPort, t.Seq)
		case !request && int(t.SrcPort) == remote.Port && t.ACK:
			key = fmt.Sprintf("%d/%d", t.DstPort, t.Ack-1) // a SYN counts one (RFC 9293 3.4)
		}
	case *layers.UDP:
		proto = "udp"
		switch {
		case request && int(t.DstPort) == remote.UDPPort:
			a.sent[int(t.SrcPort)]++
			key = fmt.Sprintf("%d/%d", t.SrcPort, a.sent[int(t.SrcPort)])
		case !request && int(t.SrcPort) == remote.UDPPort:
			key = fmt.Sprintf("%d/%d", t.DstPort, a.sent[int(t.DstPort)])
		}
	}
	if key == "" {
		return
	}
	known := a.by[proto][key]
	switch {
	case request && known.to == "":
		known.to = strings.ToLower(ether.DstMAC.String())
	case !request && known.from == "":
		known.from = strings.ToLower(ether.SrcMAC.String())
	}
	a.by[proto][key] = known
}

// replyPath sums up the flows of one protocol.
type replyPath struct {
	requests, astray, silent int
	ends                     map[string]int // announcer, backend, other -> replies
	macs                     map[string]int // reply's MAC -> replies
}

func (a flows) path(proto, announcer string, backends map[string]bool) replyPath {
	p := replyPath{ends: map[string]int{}, macs: map[string]int{}}
	for _, fl := range a.by[proto] {
		p.requests++
		if fl.to != announcer {
			p.astray++
		}
		if fl.from == "" {
			p.silent++
			continue
		}
		p.macs[fl.from]++
		switch {
		case fl.from == announcer:
			p.ends[fromAnnouncer]++
		case backends[fl.from]:
			p.ends[fromBackend]++
		default:
			p.ends[fromOther]++
		}
	}
	return p
}

// verdict gives the code and the reason where the replies do not all come from want.
func (p replyPath) verdict(want string) (code, msg string) {
	if p.astray > 0 {
		return "request-off-announcer", fmt.Sprintf("%d of %d requests went to another MAC", p.astray, p.requests)
	}
	if p.silent > 0 {
		return "no-reply", fmt.Sprintf("%d of %d requests were not answered", p.silent, p.requests)
	}
	ends := slices.Sorted(maps.Keys(p.ends))
	if len(ends) == 1 && ends[0] == want {
		return "", ""
	}
	code = "reply-path=mixed"
	if len(ends) == 1 {
		code = "reply-path=" + ends[0]
	}
	var seen []string
	for _, mac := range slices.Sorted(maps.Keys(p.macs)) {
		seen = append(seen, fmt.Sprintf("%d from %s", p.macs[mac], mac))
	}
	return code, fmt.Sprintf("the replies are to come from the %s: %s", want, strings.Join(seen, ", "))
}

func (p replyPath) figures(proto string) []Figure {
	var out []Figure
	for _, end := range []string{fromAnnouncer, fromBackend} {
		out = append(out, Figure{Name: proto + " replies from the " + end, Value: float64(p.ends[end]), Unit: "replies", N: int64(p.requests), Method: "source MAC of the first reply to each request"})
	}
	return out
}
