// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package arp

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/containernetworking/plugins/pkg/testutils"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// segment is a bridge in a namespace of its own, and hosts on it in theirs.
type segment struct {
	bridge ns.NetNS
	hosts  int
}

func newNS(t *testing.T) ns.NetNS {
	t.Helper()
	n, err := testutils.NewNS()
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = n.Close()
		_ = testutils.UnmountNS(n)
	})
	return n
}

func newSegment(t *testing.T) *segment {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	s := &segment{bridge: newNS(t)}
	require.NoError(t, s.bridge.Do(func(ns.NetNS) error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return err
		}
		return netlink.LinkSetUp(bridge)
	}))
	return s
}

// host adds a host with the addresses given on its eth0, and returns its MAC.
func (s *segment) host(t *testing.T, addresses ...string) (ns.NetNS, HardwareAddr) {
	t.Helper()
	host := newNS(t)
	s.hosts++
	port := fmt.Sprintf("port%d", s.hosts)
	require.NoError(t, s.bridge.Do(func(ns.NetNS) error {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(host.Fd()))}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add veth: %w", err)
		}
		bridge, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(veth, bridge); err != nil {
			return fmt.Errorf("join bridge: %w", err)
		}
		return netlink.LinkSetUp(veth)
	}))
	var mac HardwareAddr
	defer func() {
		awaitUp(t, s.bridge, port)
		awaitUp(t, host, "eth0")
	}()
	require.NoError(t, host.Do(func(ns.NetNS) error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		mac = HardwareAddr(link.Attrs().HardwareAddr)
		for _, address := range addresses {
			parsed, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(link, parsed); err != nil {
				return fmt.Errorf("add address: %w", err)
			}
		}
		return netlink.LinkSetUp(link)
	}))
	return host, mac
}

// awaitUp waits for the carrier: it comes up in the background, and the bridge
// forwards nothing to a port without.
func awaitUp(t *testing.T, where ns.NetNS, name string) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var state netlink.LinkOperState
		require.NoError(t, where.Do(func(ns.NetNS) error {
			link, err := netlink.LinkByName(name)
			if err == nil {
				state = link.Attrs().OperState
			}
			return err
		}))
		if state == netlink.OperUp {
			return
		}
		require.True(t, time.Now().Before(until), "%s is %s", name, state)
	}
}

func open(t *testing.T, host ns.NetNS) Conn {
	t.Helper()
	var conn Conn
	require.NoError(t, host.Do(func(ns.NetNS) error {
		var err error
		conn, err = Open("eth0")
		return err
	}))
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// sweepSegment asks three times, and hears what the kernel says.
func sweepSegment(t *testing.T, conn Conn, probeMode bool, targets ...string) (Summary, []probe.Record, probe.ARPTotals) {
	t.Helper()
	records, err := sweepWith(t.Context(), t, Config{
		Conn: conn, Targets: addrs(targets...), Count: 3, Interval: 50 * time.Millisecond, Settle: 300 * time.Millisecond, ProbeMode: probeMode,
	})
	require.NoError(t, err)
	summary, err := Summarize(records)
	require.NoError(t, err)
	require.True(t, summary.Complete)
	_, totals := endOf(t, records)
	for i := range summary.VIPs {
		for j := range summary.VIPs[i].Responders {
			r := &summary.VIPs[i].Responders[j]
			require.False(t, r.FirstSeen.IsZero() || r.LastSeen.Before(r.FirstSeen))
			r.FirstSeen, r.LastSeen, r.RoundTripNS = time.Time{}, time.Time{}, 0 // so that the rest can be compared
		}
	}
	return summary, records, totals
}

func TestNamespaceResponders(t *testing.T) {
	s := newSegment(t)
	client, _ := s.host(t, "10.99.0.1/24")
	_, one := s.host(t, "10.99.0.2/24", "10.99.0.100/32")
	_, two := s.host(t, "10.99.0.3/24", "10.99.0.100/32")
	summary, records, totals := sweepSegment(t, open(t, client), false, "10.99.0.2", "10.99.0.100", "10.99.0.250")

	require.Equal(t, []Responder{{MAC: one.String(), EthernetSource: one.String(), Replies: 3}}, summary.VIPs[0].Responders, "one responder")
	require.Equal(t, 3, summary.VIPs[0].Answered)
	require.ElementsMatch(t, []Responder{
		{MAC: one.String(), EthernetSource: one.String(), Replies: 3},
		{MAC: two.String(), EthernetSource: two.String(), Replies: 3},
	}, summary.VIPs[1].Responders, "two responders, in every round")
	require.Empty(t, summary.VIPs[2].Responders, "nobody")
	require.Equal(t, 3, summary.VIPs[2].Sent)
	require.Zero(t, summary.VIPs[2].Answered)
	require.Equal(t, 9, totals.Sent)
	require.Equal(t, 9, totals.Replies)
	require.EqualValues(t, 9, totals.KernelPackets)
	require.Zero(t, totals.KernelDrops)
	require.Contains(t, string(records[len(records)-1].Body), `"kernelDrops":0`, "the field is there when it is zero")
	kernelNS := map[string]int64{}
	for _, r := range records {
		if r.Kind == probe.KindARPProbe {
			p, err := probe.Decode[probe.ARPProbe](r)
			require.NoError(t, err)
			require.GreaterOrEqual(t, p.KernelNS, p.SentNS, "veth stamps what it takes, after the send call began")
			kernelNS[fmt.Sprint(p.Target, p.Probe)] = p.KernelNS
		}
		if r.Kind == probe.KindARPReply {
			reply, err := probe.Decode[probe.ARPReply](r)
			require.NoError(t, err)
			require.GreaterOrEqual(t, reply.ReceivedNS, reply.SentNS, "kernel time, after the probe it answers")
			require.Greater(t, reply.ReceivedNS, kernelNS[fmt.Sprint(reply.Target, reply.Probe)], "the same clock both ways")
		}
	}
	// The kernel's neighbour cache was neither used nor filled.
	require.NoError(t, client.Do(func(ns.NetNS) error {
		neighbours, err := netlink.NeighList(0, netlink.FAMILY_V4)
		for _, n := range neighbours {
			if n.IP.Equal(net.IPv4(10, 99, 0, 100)) {
				return fmt.Errorf("neighbour entry %s", n.IP)
			}
		}
		return err
	}))
}

func TestNamespaceProbeModeNeedsNoAddress(t *testing.T) {
	s := newSegment(t)
	client, _ := s.host(t)
	_, one := s.host(t, "10.99.0.2/24")
	summary, _, _ := sweepSegment(t, open(t, client), true, "10.99.0.2")
	require.Equal(t, []Responder{{MAC: one.String(), EthernetSource: one.String(), Replies: 3}}, summary.VIPs[0].Responders)
}

func TestNamespaceInjectedFrames(t *testing.T) {
	s := newSegment(t)
	client, clientMAC := s.host(t, "10.99.0.1/24")
	node, nodeMAC := s.host(t, "10.99.0.2/24")
	conn, injector := open(t, client), open(t, node)
	vip, clientIP := netip.MustParseAddr("10.99.0.100"), netip.MustParseAddr("10.99.0.1")
	claimed := HardwareAddr{2, 0xaa, 0, 0, 0, 1}
	announce := Frame{EthernetDestination: Broadcast(), EthernetSource: nodeMAC, Op: OpRequest, SenderMAC: nodeMAC, SenderIP: vip, TargetMAC: Broadcast(), TargetIP: vip}
	announceReply := announce
	announceReply.Op = OpReply
	unmonitored := announce
	unmonitored.SenderIP, unmonitored.TargetIP = netip.MustParseAddr("10.99.0.77"), netip.MustParseAddr("10.99.0.77")
	plainQuestion := announce
	plainQuestion.TargetIP = clientIP // an ordinary who-has by the VIP: filtered in the kernel
	spoofed := Frame{EthernetDestination: clientMAC, EthernetSource: nodeMAC, Op: OpReply, SenderMAC: claimed, SenderIP: vip, TargetMAC: clientMAC, TargetIP: clientIP}
	broadcastAnswer := spoofed // to us, but for all to hear
	broadcastAnswer.EthernetDestination = Broadcast()
	malformed := spoofed.Bytes()
	malformed[18] = 8
	// The socket hears from Open on: these are queued before the first probe.
	for _, raw := range [][]byte{announce.Bytes(), announceReply.Bytes(), unmonitored.Bytes(), plainQuestion.Bytes(), spoofed.Bytes(), broadcastAnswer.Bytes(), malformed} {
		require.NoError(t, injector.Send(raw))
	}
	time.Sleep(200 * time.Millisecond) // a busy kernel may deliver them later than the send call
	summary, records, totals := sweepSegment(t, conn, false, "10.99.0.100")

	got := summary.VIPs[0]
	require.Equal(t, 2, got.Gratuitous)
	require.Equal(t, []Responder{{MAC: claimed.String(), EthernetSource: nodeMAC.String(), Replies: 2}}, got.Responders)
	require.Zero(t, got.Answered, "what came before the first probe answers none")
	require.Equal(t, 1, totals.Ignored)
	require.Equal(t, 1, totals.Malformed)
	require.EqualValues(t, 7, totals.KernelPackets, "six of them, and the client's own answer to the plain question, which is not recorded")
	var ops []string
	for _, r := range records {
		switch r.Kind {
		case probe.KindARPGratuitous:
			body, err := probe.Decode[probe.ARPGratuitous](r)
			require.NoError(t, err)
			require.Equal(t, nodeMAC.String(), body.EthernetSource)
			ops = append(ops, body.Op)
		case probe.KindARPReply:
			body, err := probe.Decode[probe.ARPReply](r)
			require.NoError(t, err)
			require.Equal(t, -1, body.Probe)
		}
	}
	require.Equal(t, []string{"request", "reply"}, ops)
}

func TestNamespaceLinkDownIsRecorded(t *testing.T) {
	s := newSegment(t)
	client, _ := s.host(t, "10.99.0.1/24")
	conn := open(t, client)
	require.NoError(t, client.Do(func(ns.NetNS) error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(link)
	}))
	_, _, totals := sweepSegment(t, conn, false, "10.99.0.100")
	require.Equal(t, 3, totals.SendErrors)
	require.Zero(t, totals.Sent)
}

// The kernel takes a VLAN tag out of the frame: without PACKET_AUXDATA a tagged
// answer would look like one from our own segment.
func TestNamespaceTaggedReplySaysItsVLAN(t *testing.T) {
	s := newSegment(t)
	client, clientMAC := s.host(t, "10.99.0.1/24")
	node, nodeMAC := s.host(t, "10.99.0.2/24")
	conn, injector := open(t, client), open(t, node)
	reply := Frame{
		EthernetDestination: clientMAC, EthernetSource: nodeMAC, Op: OpReply, SenderMAC: nodeMAC,
		SenderIP: netip.MustParseAddr("10.99.0.100"), TargetMAC: clientMAC, TargetIP: netip.MustParseAddr("10.99.0.1"),
	}.Bytes()
	tagged := append(append(append([]byte{}, reply[:12]...), 0x81, 0, 0x20, 42), reply[12:]...)
	require.NoError(t, injector.Send(tagged))
	summary, _, _ := sweepSegment(t, conn, false, "10.99.0.100")
	require.Equal(t, []Responder{{MAC: nodeMAC.String(), EthernetSource: nodeMAC.String(), VLAN: 42, Replies: 1}}, summary.VIPs[0].Responders)
}
