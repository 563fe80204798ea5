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
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// tb is what worlds need of a test; rapid's T is one too.
type tb interface {
	Helper()
	Fatalf(string, ...any)
}

// world is a segment of known truth. Its zero parts are filled in by healthy.
type world struct {
	spec      scenario.Scenario
	phases    []journal.PlannedPhase
	topology  journal.Topology
	proofs    []journal.NodeProof
	objects   journal.Objects
	metrics   []journal.SpeakerMetrics
	arp       map[string]map[string]int // address -> MAC -> answers one broadcast in so many
	probes    int
	drops     uint32
	claims    map[string][]string                  // address -> MACs that announce it once, unasked
	delayNS   int64                                // between who-has and reply; rounds are 1000 ns apart
	backends  map[string]map[string]map[string]int // service -> pod -> peer -> answers
	errors    map[string]int                       // service -> failed requests
	latency   map[string]hist                      // "stream/target"
	discarded map[string]int64                     // stream -> late requests, of 2000, of an attempt that was made again
	faults    map[string][]journal.Fault           // phase -> faults
	broken    map[string]string                    // observation -> why it could not be finished
	in        map[string]func()                    // phase -> what changes when it begins
	replies   map[string][]string                  // protocol -> MACs that replies come from, in turn; "" is none
	flows     int                                  // connections, and datagrams, of the reply path
	requests  string                               // MAC that requests go to instead of the announcer's
	unseen    int                                  // connections that are missing in the capture
	noPath    *journal.Unmeasured                  // latency found no announcer
}

type hist struct {
	p50, p90  int64
	n, errors int64
	late      int64
}

const (
	vipCluster = "192.0.2.40"
	vipLocal   = "192.0.2.41"
	vipRemote  = "192.0.2.42"
	clientAddr = "192.0.2.100"
)

// healthy is a cluster of one control plane and two workers where all is well.
func healthy() *world {
	w := &world{
		probes:   50,
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
			Rules: map[string]string{"iptables": fmt.Sprintf("-A KUBE-SERVICES -d %s/32 -p tcp\n-A KUBE-SERVICES -d %s/32 -p tcp\n-A KUBE-SERVICES -d %s/32 -p tcp\n", vipCluster, vipLocal, vipRemote), "nftables": "", "ipvs": ""},
			Links: []string{"lo", "eth0"},
		})
		w.metrics = append(w.metrics, journal.SpeakerMetrics{Node: name, Text: "metallb_k8s_client_config_loaded_bool 1\n"})
	}
	w.objects = journal.Objects{
		Services: []journal.Service{
			{Name: "echo-cluster", Namespace: "lbmatrix", ExternalTrafficPolicy: "Cluster", VIP: vipCluster, Port: 80, NodePort: 30080},
			{Name: "echo-local", Namespace: "lbmatrix", ExternalTrafficPolicy: "Local", VIP: vipLocal, Port: 80, NodePort: 30081},
			{Name: "echo-remote", Namespace: "lbmatrix", ExternalTrafficPolicy: "Cluster", VIP: vipRemote, Port: 80, NodePort: 30082, UDPPort: 8082, BackendsOffAnnouncer: true},
		},
		Pools:            []journal.Pool{{Name: "pool", Addresses: []string{"192.0.2.40-192.0.2.49"}}},
		L2Advertisements: []journal.L2Advertisement{{Name: "all", Pools: []string{"pool"}}},
	}
	for _, s := range w.objects.Services {
		for i, pod := range []string{"a", "b", "c", "d"} {
			if s.BackendsOffAnnouncer && 1+i%2 == elected(vipRemote) {
				continue
			}
			w.objects.Backends = append(w.objects.Backends, journal.Backend{Service: s.Name, Pod: pod, Node: w.topology.Nodes[1+i%2].Name})
		}
	}
	w.announce("echo-cluster", vipCluster, elected(vipCluster))
	w.announce("echo-local", vipLocal, elected(vipLocal))
	w.announce("echo-remote", vipRemote, elected(vipRemote))
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
	case journal.ObsTraffic:
		return w.observeTraffic(o)
	case journal.ObsReplyPath:
		return w.observeReplyPath(o)
	case journal.ObsLatency:
		return w.observeLatency(o)
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
		targets = append(targets, journal.Target{Service: s.Name, Kind: journal.TargetVIP, Address: s.VIP, Stream: journal.StreamARP})
	}
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
	l := &lines{out: o.Stream(journal.StreamHTTP)}
	l.start(probe.LoadArgs{})
	all := probe.LoadTotals{Targets: map[string]probe.LoadTotals{}}
	for _, s := range w.objects.Services {
		peers := probe.LoadPeers{Target: s.Name, Backends: map[string]probe.BackendCount{}}
		var t probe.LoadTotals
		for pod, seen := range w.backends[s.Name] {
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
		t.Errors = int64(w.errors[s.Name])
		for range w.errors[s.Name] {
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
			again = append(again, stream)
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
		l.start(probe.LoadArgs{})
		all := probe.LoadTotals{Targets: map[string]probe.LoadTotals{}}
		for _, target := range []string{"vip", "nodeport"} {
			h := w.latency[stream+"/"+target]
			for _, name := range []string{probe.HistogramResponse, probe.HistogramService} {
				l.add(probe.KindLoadHistogram, probe.LoadHistogram{Target: target, Name: name, Count: h.n, P50: h.p50, P90: h.p90, P99: 2 * h.p90, P999: 3 * h.p90, Max: 4 * h.p90})
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
