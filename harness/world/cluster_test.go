// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package world_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/load"
	"github.com/lbmatrix/lbmatrix/harness/probe/neigh"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/world"
)

// pair is a client and two nodes with two pods each; the first announces the VIP.
type pair struct {
	client   *world.Host
	nodes    []*world.Node
	pods     []*world.Pod // of the first node, then of the second
	announce *world.Responder
}

func newPair(t *testing.T, b world.Behaviour) pair {
	t.Helper()
	s := segment(t)
	p := pair{client: host(t, s, "client", "10.99.0.1/24")}
	for i, name := range []string{"one", "two"} {
		n, err := s.Node(name, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, 0, byte(2 + i)}), 24))
		require.NoError(t, err)
		for _, letter := range []string{"a", "b"} {
			pod, err := n.Pod(t.Context(), name+"-"+letter, b)
			require.NoError(t, err)
			p.pods = append(p.pods, pod)
		}
		p.nodes = append(p.nodes, n)
	}
	p.announce = respond(t, p.nodes[0].Host, world.Script{Addresses: []netip.Addr{vip}})
	return p
}

// lost is how long a request waits that nobody is to answer.
const lost = time.Second

// ask loads an address from the client and returns the totals and who answered.
func (p pair) ask(t *testing.T, c load.Config) (probe.LoadTotals, probe.LoadPeers) {
	t.Helper()
	if c.Dial == nil {
		c.Dial = p.client.Dial
	}
	if c.Count == 0 {
		c.Count = 40
	}
	if c.Rate == 0 {
		c.Rate = 200
	}
	if c.Timeout == 0 {
		c.Timeout = 20 * time.Second // a busy machine is slow, and loses nothing
	}
	var out bytes.Buffer
	require.NoError(t, load.Run(t.Context(), c, stream.NewWriter(&out)))
	records, err := stream.Read(&out)
	require.NoError(t, err)
	var peers probe.LoadPeers
	for _, r := range records {
		if r.Kind == probe.KindLoadPeers {
			peers, err = probe.Decode[probe.LoadPeers](r)
			require.NoError(t, err)
		}
	}
	end, err := probe.Decode[probe.End](records[len(records)-1])
	require.NoError(t, err)
	totals, err := probe.Decode[probe.LoadTotals](probe.Record{Body: end.Totals})
	require.NoError(t, err)
	return totals, peers
}

func target(address string) []probe.LoadTarget {
	return []probe.LoadTarget{{Name: "vip", Address: address}}
}

func TestTranslatedPath(t *testing.T) {
	p := newPair(t, world.Behaviour{})
	require.NoError(t, p.nodes[0].Serve(world.Service{VIP: vip, Port: 80, UDPPort: 82, NodePort: 30080, Pods: p.pods}))
	for _, c := range []load.Config{
		{Mode: probe.ModeHTTPNew, Targets: target("10.99.0.40:80"), Count: 200},
		{Mode: probe.ModeUDPEcho, Targets: target("10.99.0.40:82"), Count: 200},
		{Mode: probe.ModeHTTPNew, Targets: target("10.99.0.2:30080"), Count: 200},
	} {
		totals, peers := p.ask(t, c)
		require.EqualValues(t, 200, totals.OK, "%v", totals.ErrorKinds)
		require.Len(t, peers.Backends, 4)
		for pod, b := range peers.Backends {
			require.Greater(t, b.Responses, 15, "%s gets a quarter of 200", pod)
			require.Len(t, b.Peers, 1)
			for peer := range b.Peers {
				if b.Node == "two" {
					require.Equal(t, "10.99.0.2", peer, "the announcer's")
				} else {
					require.Contains(t, p.nodes[0].Gateways, netip.MustParseAddr(peer))
				}
			}
		}
	}
	require.NoError(t, p.nodes[0].Sysctl("net.ipv4.ip_forward", "0"))
	totals, _ := p.ask(t, load.Config{Mode: probe.ModeHTTPNew, Targets: target("10.99.0.40:80"), Count: 4, Timeout: lost})
	require.Zero(t, totals.OK, "all pods are behind a router that does not forward")
}

func TestDirectPathAndKeptSource(t *testing.T) {
	p := newPair(t, world.Behaviour{})
	require.NoError(t, p.nodes[0].Serve(world.Service{VIP: vip, Port: 80, UDPPort: 82, Pods: p.pods[2:], Direct: true}))
	for _, c := range []load.Config{
		{Mode: probe.ModeHTTPNew, Targets: target("10.99.0.40:80")},
		{Mode: probe.ModeUDPEcho, Targets: target("10.99.0.40:82")},
	} {
		totals, peers := p.ask(t, c)
		require.EqualValues(t, 40, totals.OK, "%v", totals.ErrorKinds)
		require.Len(t, peers.Backends, 2)
		for _, b := range peers.Backends {
			require.Equal(t, map[string]int{"10.99.0.1": b.Responses}, b.Peers)
		}
	}
	require.Error(t, p.nodes[0].Serve(world.Service{VIP: vip, Port: 80, Pods: p.pods, Direct: true}), "pods on both nodes")

	local := netip.MustParseAddr("10.99.0.41")
	respond(t, p.nodes[0].Host, world.Script{Addresses: []netip.Addr{local}})
	require.NoError(t, p.nodes[0].Serve(world.Service{VIP: local, Port: 80, Pods: p.pods[:2], KeepSource: true}))
	totals, peers := p.ask(t, load.Config{Mode: probe.ModeHTTPNew, Targets: target("10.99.0.41:80")})
	require.EqualValues(t, 40, totals.OK)
	for _, b := range peers.Backends {
		require.Equal(t, map[string]int{"10.99.0.1": b.Responses}, b.Peers)
	}
}

func TestStickyChoiceAndWeights(t *testing.T) {
	p := newPair(t, world.Behaviour{})
	require.NoError(t, p.nodes[0].Serve(world.Service{VIP: vip, Port: 80, Pods: p.pods, Sticky: true}))
	_, peers := p.ask(t, load.Config{Mode: probe.ModeHTTPNew, Targets: target("10.99.0.40:80")})
	require.Len(t, peers.Backends, 1, "one client, one backend")

	other := netip.MustParseAddr("10.99.0.41")
	respond(t, p.nodes[0].Host, world.Script{Addresses: []netip.Addr{other}})
	heavy := []*world.Pod{p.pods[0], p.pods[0], p.pods[0], p.pods[0], p.pods[1]}
	require.NoError(t, p.nodes[0].Serve(world.Service{VIP: other, Port: 80, Pods: heavy}))
	_, peers = p.ask(t, load.Config{Mode: probe.ModeHTTPNew, Targets: target("10.99.0.41:80"), Count: 200})
	// 160 of 200 are expected; 130 is six standard deviations below.
	require.Greater(t, peers.Backends["one-a"].Responses, 130)
	require.Positive(t, peers.Backends["one-b"].Responses)
}

func TestLongPacketsAndFirstSegmentsAreLost(t *testing.T) {
	p := newPair(t, world.Behaviour{})
	require.NoError(t, p.nodes[0].Serve(world.Service{VIP: vip, Port: 80, UDPPort: 82, Pods: p.pods[2:], LoseSYN: 100}))
	require.NoError(t, p.nodes[0].DropLonger(1400))
	const headers = 28 // IPv4 and UDP
	for payload, want := range map[int]int64{1400 - headers: 10, 1401 - headers: 0} {
		c := load.Config{Mode: probe.ModeUDPEcho, Targets: target("10.99.0.40:82"), Count: 10, Payload: payload}
		if want == 0 {
			c.Timeout = lost
		}
		totals, _ := p.ask(t, c)
		require.Equal(t, want, totals.OK, "%d bytes", payload+headers)
	}
	totals, _ := p.ask(t, load.Config{Mode: probe.ModeTCPConnect, Targets: target("10.99.0.40:80"), Count: 5, Timeout: lost})
	require.EqualValues(t, 5, totals.ErrorKinds[probe.ErrorTimeout])
}

func TestStaleNeighbourEntry(t *testing.T) {
	p := newPair(t, world.Behaviour{})
	for i, n := range p.nodes {
		require.NoError(t, n.Serve(world.Service{VIP: vip, Port: 80, Pods: p.pods[2*i : 2*i+2]}))
	}
	c := load.Config{Mode: probe.ModeTCPConnect, Targets: target("10.99.0.40:80"), Count: 5}
	totals, _ := p.ask(t, c)
	require.EqualValues(t, 5, totals.OK)
	next := respond(t, p.nodes[1].Host, world.Script{Addresses: []netip.Addr{vip}})
	p.announce.Switch(false)
	require.NoError(t, p.nodes[0].Disconnect()) // it is dead, and the client does not know
	c.Timeout = lost
	totals, _ = p.ask(t, c)
	c.Timeout = 0
	require.Zero(t, totals.OK, "the client's entry still leads to the dead node")
	require.NoError(t, next.Announce(vip))
	totals, _ = p.ask(t, c)
	require.EqualValues(t, 5, totals.OK, "gratuitous ARP mends it")

	require.NoError(t, p.client.Do(func() error {
		n, err := neigh.Flush(world.Interface)
		require.Positive(t, n)
		return err
	}))
}

func TestStallingBackend(t *testing.T) {
	p := newPair(t, world.Behaviour{StallFor: 200 * time.Millisecond, StallEvery: 500 * time.Millisecond})
	require.NoError(t, p.nodes[0].Serve(world.Service{VIP: vip, Port: 80, Pods: p.pods[:1]}))
	var out bytes.Buffer
	require.NoError(t, load.Run(t.Context(), load.Config{
		Mode: probe.ModeHTTPNew, Targets: target("10.99.0.40:80"), Rate: 100, Count: 150, Dial: p.client.Dial,
	}, stream.NewWriter(&out)))
	records, err := stream.Read(&out)
	require.NoError(t, err)
	for _, r := range records {
		if r.Kind != probe.KindLoadHistogram {
			continue
		}
		h, err := probe.Decode[probe.LoadHistogram](r)
		require.NoError(t, err)
		if h.Name != probe.HistogramResponse {
			continue // how late the client was is not the backend's
		}
		// 30 % of the requests meet a stall of 200 ms, and wait for what is left of it.
		require.Greater(t, h.P90, int64(100*time.Millisecond))
		require.Greater(t, h.Max, int64(150*time.Millisecond))
	}
}

// A node cannot reach a VIP that it announces by asking the segment: nobody answers its
// own questions.
func TestInsideTheCluster(t *testing.T) {
	p := newPair(t, world.Behaviour{})
	service := world.Service{VIP: vip, Port: 80, Pods: p.pods}
	require.NoError(t, p.nodes[0].Serve(service))
	c := load.Config{Mode: probe.ModeHTTPNew, Targets: target("10.99.0.40:80"), Count: 10, Dial: p.nodes[0].Dial, Timeout: lost}
	totals, _ := p.ask(t, c)
	require.Zero(t, totals.OK)
	c.Timeout = 0
	for _, n := range p.nodes {
		require.NoError(t, n.ServeInside(service))
	}
	// A pod may be given itself, and a Service that keeps the sources of those outside.
	require.NoError(t, p.nodes[0].Serve(world.Service{VIP: netip.MustParseAddr("10.99.0.41"), Port: 80, Pods: p.pods[:2], KeepSource: true}))
	require.NoError(t, p.nodes[0].ServeInside(world.Service{VIP: netip.MustParseAddr("10.99.0.41"), Port: 80, Pods: p.pods[:2]}))
	for i, dial := range []load.DialFunc{p.nodes[0].Dial, p.nodes[1].Dial, p.pods[0].Dial, p.pods[3].Dial, p.pods[0].Dial} {
		if i == 4 {
			c.Targets = target("10.99.0.41:80")
		}
		c.Dial, c.Count = dial, 40
		totals, peers := p.ask(t, c)
		require.EqualValues(t, 40, totals.OK, "%v", totals.ErrorKinds)
		require.Greater(t, len(peers.Backends), 1)
	}
}
