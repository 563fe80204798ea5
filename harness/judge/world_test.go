// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/latency"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// tb is what worlds need of a test; rapid's T is one too.
type tb interface {
	Helper()
	Fatalf(string, ...any)
}

// world is a segment of known truth. Its zero parts are filled in by healthy.
type world struct {
	spec       scenario.Scenario
	phases     []journal.PlannedPhase
	topology   journal.Topology
	proofs     []journal.NodeProof
	objects    journal.Objects
	metrics    []journal.SpeakerMetrics
	arp        map[string]map[string]int // address -> MAC -> answers one broadcast in so many
	more       []string                  // VIPs of Services beside those under test
	probes     int
	drops      uint32
	claims     map[string][]string                  // address -> MACs that announce it once, unasked
	delayNS    int64                                // between who-has and reply; rounds are 1000 ns apart
	backends   map[string]map[string]map[string]int // service -> pod -> peer -> answers
	errors     map[string]int                       // service -> failed requests
	latency    map[string]hist                      // "stream/target"
	untold     bool                                 // that there were such attempts
	discarded  map[string]int64                     // stream -> late requests, of 2000, of an attempt that was made again
	faults     map[string][]journal.Fault           // phase -> faults
	broken     map[string]string                    // observation -> why it could not be finished
	in         map[string]func()                    // phase -> what changes when it begins
	replies    map[string][]string                  // protocol -> MACs that replies come from, in turn; "" is none
	flows      int                                  // connections, and datagrams, of the reply path
	requests   string                               // MAC that requests go to instead of the announcer's
	unseen     int                                  // connections that are missing in the capture
	noPath     *journal.Unmeasured                  // latency found no announcer
	udp        map[string]map[string]map[string]int // as backends, of datagrams
	udpErrors  map[string]int
	payloads   map[string]int            // target of the payloads observation -> exchanges that fail
	kind       string                    // how they fail
	transfers  map[string][]int64        // vip, nodeport -> times of the transfers, ns; 0 is one that fails
	inside     map[string]map[string]int // from@node -> service -> failed requests, of 40
	settle     *journal.Settle
	takeover   takeover
	six        string                                    // the IPv6 VIP
	optionless bool                                      // advertisements have no link-layer address option
	requests6  struct{ answered, errors, dropped int64 } // to it
	again      map[string]int                            // address -> second answers of the same MAC to one broadcast
	noSpare    bool                                      // the sweep asks for no spare address
	absent     string                                    // an in-cluster client, from@node, that did not ask
	first      *firstRun                                 // the traffic was made again

	connections int // of latency runs, in which 1000 requests may be in flight
}

type hist struct {
	p50, p90  int64
	n, errors int64
	late      int64
	slow      int64 // so many of n took 30 ms more
	torn      bool  // the histogram is
}

// bodies are the histograms that were made, by what they are made of: nearly all worlds
// have the same.
var bodies sync.Map

// body is a histogram of n samples with these percentiles: they rise evenly from one to
// the next, and to four times the p90 at the end.
func (h hist) body(target, name string) (probe.LoadHistogram, error) {
	type key struct {
		hist
		target, name string
	}
	if made, ok := bodies.Load(key{h, target, name}); ok {
		return made.(probe.LoadHistogram), nil
	}
	l := latency.New()
	for i := range h.n {
		q := float64(i+1) / float64(h.n)
		v := float64(h.p50) * (0.8 + 0.4*q)
		switch {
		case q > 0.9:
			v = float64(h.p90) * (1 + 30*(q-0.9))
		case q > 0.5:
			v = float64(h.p50) + float64(h.p90-h.p50)*(q-0.5)/0.4
		}
		if i >= h.n-h.slow {
			v += 30e6
		}
		if err := l.Record(time.Duration(v)); err != nil {
			return probe.LoadHistogram{}, err
		}
	}
	body, err := l.Body(target, name)
	if h.torn {
		body.HDR = body.HDR[:len(body.HDR)/2]
	}
	if err == nil {
		bodies.Store(key{h, target, name}, body)
	}
	return body, err
}

const (
	vipCluster = "192.0.2.40"
	vipLocal   = "192.0.2.41"
	vipRemote  = "192.0.2.42"
	vipNear    = "192.0.2.43"
	vipSticky  = "192.0.2.44"
	vipIdle    = "192.0.2.45"
	spareAddr  = "192.0.2.49"
	nobodyAddr = "192.0.2.250"
	clientAddr = "192.0.2.100"
)

// served are the VIPs that have endpoints.
func served() []string { return []string{vipCluster, vipLocal, vipRemote, vipNear, vipSticky} }

// healthy is a cluster of one control plane and two workers where all is well.
func healthy() *world {
	w := &world{
		probes:   20, // twice the rarest answers
		backends: map[string]map[string]map[string]int{},
		errors:   map[string]int{},
		faults:   map[string][]journal.Fault{},
		broken:   map[string]string{},
	}
	w.spec.Metadata.Name = "world"
	w.spec.Spec.DataPlane.Proxy = scenario.ProxyIPTables
	w.spec.SetDefaults()
	w.phases = []journal.PlannedPhase{{Name: journal.PhaseBaseline, Checks: judge.For(w.spec)}}
	w.topology = journal.Topology{Subnet: "192.0.2.0/24", Client: journal.Member{Name: "client", Address: clientAddr, MAC: mac(100)}}
	for i, name := range []string{"control-plane", "worker", "worker2"} {
		w.topology.Nodes = append(w.topology.Nodes, journal.Node{
			Member:       journal.Member{Name: name, Address: nodeAddr(i), MAC: mac(i)},
			ControlPlane: i == 0, ExcludedFromLB: i == 0, Interface: "eth0",
			OtherAddresses: []string{fmt.Sprintf("10.244.%d.1", i)},
		})
		w.proofs = append(w.proofs, journal.NodeProof{
			Node: name, ProxyMode: "iptables\n", Sysctls: map[string]string{"net.ipv4.ip_forward": "1\n"},
			Rules: map[string]string{"iptables": "-A KUBE-SERVICES -d " + strings.Join(served(), "/32 -p tcp\n-A KUBE-SERVICES -d ") + "/32 -p tcp\n", "nftables": "", "ipvs": ""},
			Links: []string{"lo", "eth0"},
		})
		w.metrics = append(w.metrics, journal.SpeakerMetrics{Node: name, Text: "metallb_k8s_client_config_loaded_bool 1\n"})
	}
	w.objects = journal.Objects{
		Services: []journal.Service{
			{Name: "echo-cluster", Namespace: "lbmatrix", ExternalTrafficPolicy: "Cluster", VIP: vipCluster, Port: 80, NodePort: 30080},
			{Name: "echo-local", Namespace: "lbmatrix", ExternalTrafficPolicy: "Local", VIP: vipLocal, Port: 80, NodePort: 30081},
			{Name: "echo-remote", Namespace: "lbmatrix", ExternalTrafficPolicy: "Cluster", VIP: vipRemote, Port: 80, NodePort: 30082, UDPPort: 8082, BackendsOffAnnouncer: true},
			{Name: "echo-near", Namespace: "lbmatrix", ExternalTrafficPolicy: "Cluster", VIP: vipNear, Port: 80, NodePort: 30083, Role: journal.RoleNear},
			{Name: "echo-sticky", Namespace: "lbmatrix", ExternalTrafficPolicy: "Cluster", VIP: vipSticky, Port: 80, NodePort: 30084, Role: journal.RoleSticky, SessionAffinity: "ClientIP"},
			{Name: "echo-idle", Namespace: "lbmatrix", ExternalTrafficPolicy: "Local", VIP: vipIdle, Port: 80, NodePort: 30085, Role: journal.RoleIdle},
		},
		Pools:            []journal.Pool{{Name: "pool", Addresses: []string{"192.0.2.40-192.0.2.49"}}},
		L2Advertisements: []journal.L2Advertisement{{Name: "all", Pools: []string{"pool"}}},
	}
	for _, s := range w.objects.Services {
		for i, pod := range []string{"a", "b", "c", "d"} {
			switch {
			case s.BackendsOffAnnouncer && 1+i%2 == elected(vipRemote), s.Role == journal.RoleNear && 1+i%2 != elected(vipNear), s.Role == journal.RoleIdle:
				continue
			}
			w.objects.Backends = append(w.objects.Backends, journal.Backend{Service: s.Name, Pod: pod, Node: w.topology.Nodes[1+i%2].Name})
		}
	}
	w.announce("echo-cluster", vipCluster, elected(vipCluster))
	w.announce("echo-local", vipLocal, elected(vipLocal))
	w.announce("echo-remote", vipRemote, elected(vipRemote))
	w.announce("echo-near", vipNear, elected(vipNear))
	w.announce("echo-sticky", vipSticky, elected(vipSticky))
	w.backends["echo-sticky"] = map[string]map[string]int{"b": {nodeAddr(elected(vipSticky)): 400}}
	w.udp = map[string]map[string]map[string]int{}
	for _, service := range []string{"echo-cluster", "echo-local"} {
		w.udp[service] = map[string]map[string]int{}
		for pod, peers := range w.backends[service] {
			w.udp[service][pod] = map[string]int{}
			for peer, n := range peers {
				w.udp[service][pod][peer] = n / map[string]int{"echo-cluster": 4, "echo-local": 20}[service]
			}
		}
	}
	w.udpErrors, w.payloads, w.kind = map[string]int{}, map[string]int{}, probe.ErrorTimeout
	w.transfers = map[string][]int64{}
	for i := range 20 {
		w.transfers["vip"] = append(w.transfers["vip"], int64(21e6+1e4*i))
		w.transfers["nodeport"] = append(w.transfers["nodeport"], int64(20e6+1e4*i))
	}
	w.inside = map[string]map[string]int{}
	w.settle = &journal.Settle{WantedMS: 2000, StableMS: 2100, Stable: true, Seen: []journal.SettleChange{{Responders: map[string][]string{}}}}
	w.replies = map[string][]string{"tcp": {mac(elected(vipRemote))}, "udp": {mac(elected(vipRemote))}}
	w.flows = 20
	w.latency = map[string]hist{}
	for _, stream := range []string{journal.StreamConnect, journal.StreamRequest} {
		w.latency[stream+"/vip"] = hist{p50: 200e3, p90: 300e3, n: 1000}
		w.latency[stream+"/nodeport"] = hist{p50: 190e3, p90: 290e3, n: 1000}
	}
	return w
}

// elected is written out by hand, not asked of the code under test: sha256 of
// "worker#192.0.2.40" is below that of "worker2#192.0.2.40", and so on. The test
// TestElection holds it to vectors from MetalLB.
func elected(vip string) int {
	if judge.Elect([]string{"worker", "worker2"}, vip) == "worker" {
		return 1
	}
	return 2
}

func mac(i int) string      { return fmt.Sprintf("02:00:00:00:00:%02x", i+1) }
func nodeAddr(i int) string { return fmt.Sprintf("192.0.2.%d", 10+i) }

// announce makes node i answer for a Service and everybody say so.
func (w *world) announce(service, vip string, i int) {
	if w.arp == nil {
		w.arp = map[string]map[string]int{}
		for n := range w.topology.Nodes {
			w.arp[nodeAddr(n)] = map[string]int{mac(n): 1}
		}
	}
	w.arp[vip] = map[string]int{mac(i): 1}
	name := w.topology.Nodes[i].Name
	w.metrics[i].Text += fmt.Sprintf("metallb_speaker_announced{ip=%q,node=%q,protocol=\"layer2\",service=\"lbmatrix/%s\"} 1\n", vip, name, service)
	w.objects.L2Statuses = append(w.objects.L2Statuses, journal.L2Status{Service: service, Node: name})
	w.objects.Events = append(w.objects.Events, journal.Event{
		Service: service, Reason: "nodeAssigned",
		Message: fmt.Sprintf("announcing from node %q with protocol \"layer2\"", name), Last: time.Unix(1, 0),
	})
	w.backends[service] = map[string]map[string]int{}
	for _, b := range w.objects.Backends {
		if b.Service != service {
			continue
		}
		if service == "echo-local" {
			if b.Node == name {
				w.backends[service][b.Pod] = map[string]int{clientAddr: 200}
			}
			continue
		}
		w.backends[service][b.Pod] = map[string]int{nodeAddr(i): 100}
	}
}

// write writes the world's journal, every phase with the same facts.
func (w *world) write(t tb, dir string) string {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("write world: %v", err)
		}
	}
	spec, err := json.Marshal(w.spec)
	must(err)
	path := filepath.Join(dir, journal.FileName)
	j, err := journal.Create(path, journal.Header{Scenario: "world", Spec: spec, Phases: w.phases, Where: "host"})
	must(err)
	must(j.Write(journal.KindTopology, w.topology))
	for _, p := range w.phases {
		must(j.BeginPhase(p.Name))
		if change := w.in[p.Name]; change != nil {
			change()
		}
		for _, f := range w.faults[p.Name] {
			must(j.Write(journal.KindFault, f))
		}
		for _, id := range judge.Observations(p.Checks) {
			o, err := j.Begin(id)
			must(err)
			if why := w.broken[id]; why != "" {
				must(o.End(fmt.Errorf("%s", why)))
				continue
			}
			must(w.observe(o, id))
			must(o.End(nil))
		}
		must(j.EndPhase())
	}
	must(j.Close("done", nil))
	return path
}

func (w *world) observe(o *journal.Observation, id string) error {
	switch id {
	case journal.ObsNodes:
		for _, p := range w.proofs {
			if err := o.Write(journal.KindNodeProof, p); err != nil {
				return err
			}
		}
	case journal.ObsAnnouncement:
		if err := o.Write(journal.KindObjects, w.objects); err != nil {
			return err
		}
		for _, m := range w.metrics {
			if err := o.Write(journal.KindSpeakerMetrics, m); err != nil {
				return err
			}
		}
	case journal.ObsARP:
		return w.observeARP(o)
	case journal.ObsMore:
		return w.observeMore(o)
	case journal.ObsNDP:
		return w.observeNDP(o)
	case journal.ObsTraffic6:
		return w.observeTraffic6(o)
	case journal.ObsTraffic:
		return w.observeTraffic(o)
	case journal.ObsReplyPath:
		return w.observeReplyPath(o)
	case journal.ObsLatency:
		return w.observeLatency(o)
	case journal.ObsTakeover:
		return w.takeover.observe(o, mac(elected(vipCluster)))
	case journal.ObsUDP:
		return w.observeUDP(o)
	case journal.ObsPayloads:
		return w.observePayloads(o)
	case journal.ObsThroughput:
		return w.observeThroughput(o)
	case journal.ObsInCluster:
		return w.observeInCluster(o)
	default:
		return fmt.Errorf("the world has no observation %s", id)
	}
	return nil
}

// observeReplyPath writes the frames of w.flows connections and datagrams to the remote
// Service: the frames are real, made by gopacket.
func (w *world) observeReplyPath(o *journal.Observation) error {
	targets := []journal.Target{
		{Name: "echo-remote", Service: "echo-remote", Kind: journal.TargetVIP, Address: vipRemote + ":80", Stream: journal.StreamReplyTCP},
		{Name: "echo-remote", Service: "echo-remote", Kind: journal.TargetVIP, Address: vipRemote + ":8082", Stream: journal.StreamReplyUDP},
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	l := &lines{out: o.Stream(journal.StreamCapture)}
	l.start(probe.CaptureArgs{})
	frames := 0
	send := func(outgoing bool, from, to string, transport gopacket.SerializableLayer) {
		parse := func(s string) net.HardwareAddr { m, _ := net.ParseMAC(s); return m }
		ether := &layers.Ethernet{SrcMAC: parse(from), DstMAC: parse(to), EthernetType: layers.EthernetTypeIPv4}
		ip := &layers.IPv4{Version: 4, TTL: 64, SrcIP: net.ParseIP(clientAddr).To4(), DstIP: net.ParseIP(vipRemote).To4(), Protocol: layers.IPProtocolTCP}
		if _, ok := transport.(*layers.UDP); ok {
			ip.Protocol = layers.IPProtocolUDP
		}
		if !outgoing {
			ip.SrcIP, ip.DstIP = ip.DstIP, ip.SrcIP
		}
		buf := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, ether, ip, transport); err != nil {
			l.err = err
		}
		frames++
		l.add(probe.KindCaptureFrame, probe.CaptureFrame{AtNS: int64(frames), Outgoing: outgoing, Length: len(buf.Bytes()), Data: buf.Bytes()})
	}
	announcer := w.requests
	if announcer == "" {
		for m := range w.arp[vipRemote] {
			announcer = m
		}
	}
	for i := range w.flows {
		port, seq := 40000+i%7, uint32(1000*i) // ports come again
		if i >= w.unseen {
			send(true, mac(100), announcer, &layers.TCP{SrcPort: layers.TCPPort(port), DstPort: 80, SYN: true, Seq: seq})
			if i%5 == 0 { // a repeated SYN is no other connection
				send(true, mac(100), announcer, &layers.TCP{SrcPort: layers.TCPPort(port), DstPort: 80, SYN: true, Seq: seq})
			}
			if from := w.replies["tcp"][i%len(w.replies["tcp"])]; from != "" {
				send(false, from, mac(100), &layers.TCP{SrcPort: 80, DstPort: layers.TCPPort(port), SYN: true, ACK: true, Seq: 7, Ack: seq + 1})
			}
		}
		send(true, mac(100), announcer, &layers.UDP{SrcPort: layers.UDPPort(port), DstPort: 8082})
		if from := w.replies["udp"][i%len(w.replies["udp"])]; from != "" {
			send(false, from, mac(100), &layers.UDP{SrcPort: 8082, DstPort: layers.UDPPort(port)})
		}
	}
	if err := l.end(probe.CaptureTotals{Frames: frames, KernelDrops: w.drops}); err != nil {
		return err
	}
	for _, stream := range []string{journal.StreamReplyTCP, journal.StreamReplyUDP} {
		l := &lines{out: o.Stream(stream)}
		l.start(probe.LoadArgs{})
		n := int64(w.flows)
		t := probe.LoadTotals{Scheduled: n, Completed: n, OK: n}
		if err := l.end(probe.LoadTotals{Scheduled: n, Targets: map[string]probe.LoadTotals{"echo-remote": t}}); err != nil {
			return err
		}
	}
	return nil
}

// lines writes an instrument's run into a stream.
type lines struct {
	out *journal.Stream
	seq int64
	err error
}

func (l *lines) add(kind string, body any) {
	raw, err := json.Marshal(body)
	l.seq++
	rec, err2 := json.Marshal(probe.Record{Seq: l.seq, Kind: kind, Body: raw})
	if err != nil || err2 != nil {
		l.err = fmt.Errorf("%w %w", err, err2)
		return
	}
	if _, err := l.out.Write(append(bytes.Clone(rec), '\n')); err != nil {
		l.err = err
	}
}

func (l *lines) start(args any) {
	raw, _ := json.Marshal(args)
	l.add(probe.KindStart, probe.Start{Args: raw})
}

func (l *lines) end(totals any) error {
	raw, _ := json.Marshal(totals)
	l.add(probe.KindEnd, probe.End{Records: l.seq + 1, Reason: probe.ReasonDone, Totals: raw})
	return l.err
}

func (w *world) observeARP(o *journal.Observation) error {
	var targets []journal.Target
	for _, s := range w.objects.Services {
		kind := journal.TargetVIP
		if s.Role == journal.RoleIdle {
			kind = journal.TargetIdle
		}
		targets = append(targets, journal.Target{Service: s.Name, Kind: kind, Address: s.VIP, Stream: journal.StreamARP})
	}
	targets = append(targets, journal.Target{Kind: journal.TargetUnassigned, Address: nobodyAddr, Stream: journal.StreamARP})
	if !w.noSpare {
		targets = append(targets, journal.Target{Kind: journal.TargetSpare, Address: spareAddr, Stream: journal.StreamARP})
	}
	if w.settle != nil {
		if err := o.Write(journal.KindSettle, w.settle); err != nil {
			return err
		}
	}
	return w.sweep(o, targets)
}

// observeMore asks for the VIPs of w.more.
func (w *world) observeMore(o *journal.Observation) error {
	var targets []journal.Target
	for i, vip := range w.more {
		targets = append(targets, journal.Target{Service: fmt.Sprintf("echo-more-%04d", i+1), Kind: journal.TargetVIP, Address: vip, Stream: journal.StreamARP})
	}
	return w.sweep(o, targets)
}

// sweep asks for targets, and for every node's own address.
func (w *world) sweep(o *journal.Observation, targets []journal.Target) error {
	for _, n := range w.topology.Nodes {
		targets = append(targets, journal.Target{Kind: journal.TargetNodeAddress, Address: n.Address, Node: n.Name, Stream: journal.StreamARP})
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	l := &lines{out: o.Stream(journal.StreamARP)}
	l.start(probe.ARPArgs{})
	totals := probe.ARPTotals{KernelDrops: w.drops}
	for round := range w.probes {
		for _, t := range targets {
			if t.Address == "" {
				continue // a Service without a VIP
			}
			addr := netip.MustParseAddr(t.Address)
			l.add(probe.KindARPProbe, probe.ARPProbe{Probe: round, Target: addr, SentNS: int64(1000 * round)})
			totals.Sent++
			for m, every := range w.arp[t.Address] {
				if every > 0 && round%every == 0 {
					l.add(probe.KindARPReply, probe.ARPReply{Probe: round, Target: addr, SenderMAC: m, EthernetSource: m, ReceivedNS: int64(1000*round) + w.delayNS})
					totals.Replies++
					if round < w.again[t.Address] {
						l.add(probe.KindARPReply, probe.ARPReply{Probe: round, Target: addr, SenderMAC: m, EthernetSource: m, ReceivedNS: int64(1000*round) + w.delayNS + 1})
						totals.Replies++
					}
				}
			}
		}
	}
	for address, macs := range w.claims {
		for _, m := range macs {
			l.add(probe.KindARPGratuitous, probe.ARPGratuitous{Op: "request", Address: netip.MustParseAddr(address), SenderMAC: m, EthernetSource: m})
			totals.Gratuitous++
		}
	}
	return l.end(totals)
}

func (w *world) observeTraffic(o *journal.Observation) error {
	paths, stream := w.loaded(w.backends), journal.StreamHTTP
	if w.first != nil {
		if err := w.first.observe(o); err != nil {
			return err
		}
		stream = journal.AttemptStream(stream, 2)
		for i := range paths.Targets {
			paths.Targets[i].Stream = stream
		}
		if !w.first.untold {
			paths.Discarded = []string{journal.StreamHTTP}
		}
	}
	if err := o.Write(journal.KindPaths, paths); err != nil {
		return err
	}
	return w.observeLoad(o, stream, w.backends, w.errors)
}

// firstRun is a run of requests that was made again.
type firstRun struct {
	dropped, cancelled, errors int64
	untold                     bool // nobody says that it was discarded
}

func (r firstRun) observe(o *journal.Observation) error {
	l := &lines{out: o.Stream(journal.StreamHTTP)}
	l.start(probe.LoadArgs{})
	sent := 400 - r.dropped - r.cancelled
	t := probe.LoadTotals{Scheduled: 400, Completed: sent, OK: sent - r.errors, Errors: r.errors, Dropped: r.dropped, Cancelled: r.cancelled}
	for range r.errors {
		l.add(probe.KindLoadError, probe.LoadError{Target: "echo-cluster", ErrorKind: probe.ErrorTimeout})
	}
	if r.errors > 0 {
		t.ErrorKinds = map[string]int64{probe.ErrorTimeout: r.errors}
	}
	all := t
	all.Targets = map[string]probe.LoadTotals{"echo-cluster": t}
	return l.end(all)
}

// loaded are the paths of a load observation: as a real one, it measures nothing where one
// of its Services has no VIP.
func (w *world) loaded(backends map[string]map[string]map[string]int) journal.Paths {
	var paths journal.Paths
	for _, s := range w.objects.Services {
		if _, ok := backends[s.Name]; !ok {
			continue
		}
		if s.VIP == "" {
			return journal.Paths{Unmeasured: &journal.Unmeasured{Service: s.Name}}
		}
		paths.Targets = append(paths.Targets, journal.Target{Name: s.Name, Service: s.Name, Kind: journal.TargetVIP, Address: s.VIP, Stream: journal.StreamHTTP})
	}
	return paths
}

// observeUDP writes the datagrams to each Service that has answers or failures.
func (w *world) observeUDP(o *journal.Observation) error {
	var targets []journal.Target
	for _, service := range []string{"echo-cluster", "echo-local"} {
		if w.udp[service] != nil {
			targets = append(targets, journal.Target{
				Name: service, Service: service, Kind: journal.TargetVIP, Protocol: probe.ExchangeAsk, Bytes: 32, Stream: journal.StreamUDP + "@" + service,
			})
		}
	}
	if paths := w.loaded(w.udp); paths.Unmeasured != nil {
		return o.Write(journal.KindPaths, paths)
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	for _, t := range targets {
		var results []probe.ExchangeResult
		for range w.udpErrors[t.Service] {
			results = append(results, probe.ExchangeResult{ErrorKind: w.kind, Message: "wait for it"})
		}
		for pod, peers := range w.udp[t.Service] {
			node := ""
			for _, b := range w.objects.Backends {
				if b.Pod == pod && b.Service == t.Service {
					node = b.Node
				}
			}
			for peer, n := range peers {
				results = append(results, slices.Repeat([]probe.ExchangeResult{{Pod: pod, Node: node, Peer: peer}}, n)...)
			}
		}
		if err := exchange(o, []journal.Target{t}, len(results), func(_ string, i int) probe.ExchangeResult { return results[i] }); err != nil {
			return err
		}
	}
	return nil
}

// observeLoad writes a load run to every Service that has answers, or failures.
func (w *world) observeLoad(o *journal.Observation, stream string, backends map[string]map[string]map[string]int, errors map[string]int) error {
	l := &lines{out: o.Stream(stream)}
	l.start(probe.LoadArgs{})
	all := probe.LoadTotals{Targets: map[string]probe.LoadTotals{}}
	for _, s := range w.objects.Services {
		answered, ok := backends[s.Name]
		if !ok {
			continue
		}
		peers := probe.LoadPeers{Target: s.Name, Backends: map[string]probe.BackendCount{}}
		var t probe.LoadTotals
		for pod, seen := range answered {
			node := ""
			for _, b := range w.objects.Backends {
				if b.Pod == pod && b.Service == s.Name {
					node = b.Node
				}
			}
			n := 0
			for _, k := range seen {
				n += k
			}
			peers.Backends[pod] = probe.BackendCount{Pod: pod, Node: node, Responses: n, Peers: seen}
			t.OK += int64(n)
		}
		t.Errors = int64(errors[s.Name])
		for range errors[s.Name] {
			l.add(probe.KindLoadError, probe.LoadError{Target: s.Name, ErrorKind: probe.ErrorTimeout})
		}
		if t.Errors > 0 {
			t.ErrorKinds = map[string]int64{probe.ErrorTimeout: t.Errors}
		}
		t.Completed, t.Scheduled = t.OK+t.Errors, t.OK+t.Errors
		l.add(probe.KindLoadPeers, peers)
		all.Targets[s.Name] = t
		all.Errors += t.Errors
	}
	return l.end(all)
}

// observeInCluster writes the runs of every node, and of the workers' pods.
func (w *world) observeInCluster(o *journal.Observation) error {
	var paths journal.Paths
	streams := []string{}
	for i, n := range w.topology.Nodes {
		for _, from := range []string{journal.FromNode, journal.FromPod} {
			if from == journal.FromPod && i == 0 {
				continue // the control plane has no backend
			}
			stream := from + "@" + n.Name
			if stream == w.absent {
				continue
			}
			streams = append(streams, stream)
			for _, service := range []string{"echo-cluster", "echo-local"} {
				paths.Targets = append(paths.Targets, journal.Target{
					Name: service, Service: service, Kind: journal.TargetVIP, Node: n.Name, From: from, Stream: stream,
				})
			}
		}
	}
	if err := o.Write(journal.KindPaths, paths); err != nil {
		return err
	}
	for _, stream := range streams {
		answers, errors := map[string]map[string]map[string]int{}, w.inside[stream]
		for _, service := range []string{"echo-cluster", "echo-local"} {
			answers[service] = map[string]map[string]int{"a": {clientAddr: 40 - errors[service]}}
			if errors[service] == 40 {
				answers[service] = nil
			}
		}
		if err := w.observeLoad(o, stream, answers, errors); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) observePayloads(o *journal.Observation) error {
	var targets []journal.Target
	for _, n := range []int{32, 1400, 1472, 8000} {
		targets = append(targets, journal.Target{
			Name: fmt.Sprintf("udp-%d", n), Service: "echo-remote", Kind: journal.TargetVIP, Protocol: probe.ExchangeUDP, Bytes: n, Stream: journal.StreamPayloads,
		})
	}
	targets = append(targets, journal.Target{
		Name: "http", Service: "echo-remote", Kind: journal.TargetVIP, Protocol: probe.ExchangeHTTP, Bytes: 1 << 20, Stream: journal.StreamPayloads,
	})
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	return exchange(o, targets, 20, func(name string, i int) probe.ExchangeResult {
		if i < w.payloads[name] {
			return probe.ExchangeResult{ErrorKind: w.kind, Message: "wait for it"}
		}
		return probe.ExchangeResult{DurationNS: 1e6}
	})
}

func (w *world) observeThroughput(o *journal.Observation) error {
	targets := []journal.Target{
		{Name: "vip", Service: "echo-remote", Kind: journal.TargetVIP, Address: vipRemote, Bytes: 8 << 20, Stream: journal.StreamBulk},
		{Name: "nodeport", Service: "echo-remote", Kind: journal.TargetNodePort, Bytes: 8 << 20, Stream: journal.StreamBulk},
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	return exchange(o, targets, len(w.transfers["vip"]), func(name string, i int) probe.ExchangeResult {
		if ns := w.transfers[name][i]; ns > 0 {
			return probe.ExchangeResult{DurationNS: ns}
		}
		return probe.ExchangeResult{ErrorKind: probe.ErrorTimeout, DurationNS: 1}
	})
}

// exchange writes a run of count exchanges with each target.
func exchange(o *journal.Observation, targets []journal.Target, count int, result func(name string, i int) probe.ExchangeResult) error {
	args := probe.ExchangeArgs{Count: count}
	for _, t := range targets {
		args.Targets = append(args.Targets, probe.ExchangeTarget{Name: t.Name, Bytes: t.Bytes})
	}
	l := &lines{out: o.Stream(targets[0].Stream)}
	l.start(args)
	totals := probe.ExchangeTotals{}
	for i := range count {
		for k, t := range targets {
			r := result(t.Name, i)
			r.Target, r.Number = t.Name, i*len(targets)+k
			l.add(probe.KindExchange, r)
			totals.Exchanges++
			if r.ErrorKind == "" {
				totals.OK++
			}
		}
	}
	return l.end(totals)
}

func (w *world) observeLatency(o *journal.Observation) error {
	if w.noPath != nil {
		return o.Write(journal.KindPaths, journal.Paths{Unmeasured: w.noPath})
	}
	var targets []journal.Target
	var again []string
	streams := []string{journal.StreamConnect, journal.StreamRequest}
	last := map[string]string{}
	for _, stream := range streams {
		last[stream] = stream
		if late, ok := w.discarded[stream]; ok {
			l := &lines{out: o.Stream(stream)}
			l.start(probe.LoadArgs{})
			all := probe.LoadTotals{Scheduled: 2000, Completed: 2000, OK: 2000, Late: late, StealRatio: 0.4}
			if err := l.end(all); err != nil {
				return err
			}
			if !w.untold {
				again = append(again, stream)
			}
			last[stream] = journal.AttemptStream(stream, 2)
		}
		targets = append(targets,
			journal.Target{Name: "vip", Kind: journal.TargetVIP, Address: vipCluster, Stream: last[stream]},
			journal.Target{Name: "nodeport", Kind: journal.TargetNodePort, Address: nodeAddr(1), Stream: last[stream]})
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets, Discarded: again}); err != nil {
		return err
	}
	for _, stream := range streams {
		l := &lines{out: o.Stream(last[stream])}
		l.start(probe.LoadArgs{MaxInFlight: 1000, Connections: w.connections})
		all := probe.LoadTotals{Targets: map[string]probe.LoadTotals{}}
		for _, target := range []string{"vip", "nodeport"} {
			h := w.latency[stream+"/"+target]
			for _, name := range []string{probe.HistogramResponse, probe.HistogramService} {
				body, err := h.body(target, name)
				if err != nil {
					return err
				}
				l.add(probe.KindLoadHistogram, body)
			}
			for range h.errors {
				l.add(probe.KindLoadError, probe.LoadError{Target: target, ErrorKind: probe.ErrorTimeout})
			}
			all.Targets[target] = probe.LoadTotals{Scheduled: h.n + h.errors, Completed: h.n + h.errors, OK: h.n, Errors: h.errors, Late: h.late}
			all.Errors += h.errors
		}
		if err := l.end(all); err != nil {
			return err
		}
	}
	return nil
}
