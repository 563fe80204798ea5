// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package world_test

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
	"github.com/lbmatrix/lbmatrix/harness/probe/ndp"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/probe/sweep"
	"github.com/lbmatrix/lbmatrix/harness/world"
)

func segment(t *testing.T) *world.Segment {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	require.NoError(t, world.Available())
	s, err := world.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func host(t *testing.T, s *world.Segment, name string, addresses ...string) *world.Host {
	t.Helper()
	var prefixes []netip.Prefix
	for _, a := range addresses {
		prefixes = append(prefixes, netip.MustParsePrefix(a))
	}
	h, err := s.Host(name, prefixes...)
	require.NoError(t, err)
	return h
}

func respond(t *testing.T, h *world.Host, script world.Script) *world.Responder {
	t.Helper()
	r, err := h.Respond(script)
	require.NoError(t, err)
	return r
}

var vip = netip.MustParseAddr("10.99.0.40")

// ask sweeps from the observer while meanwhile runs.
func ask(t *testing.T, observer *world.Host, count int, meanwhile func(), targets ...netip.Addr) sweep.Summary {
	t.Helper()
	var conn ether.Conn
	require.NoError(t, observer.Do(func() (err error) {
		conn, err = arp.Open(world.Interface)
		return err
	}))
	var out bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- arp.Run(context.WithoutCancel(t.Context()), arp.Config{
			Conn: conn, Targets: targets, Count: count, Interval: 5 * time.Millisecond, Settle: 300 * time.Millisecond,
		}, stream.NewWriter(&out))
	}()
	if meanwhile != nil {
		meanwhile()
	}
	require.NoError(t, <-done)
	records, err := stream.Read(&out)
	require.NoError(t, err)
	s, err := arp.Summarize(records)
	require.NoError(t, err)
	return s
}

func replies(v sweep.VIP) map[string]int {
	out := map[string]int{}
	for _, r := range v.Responders {
		out[r.MAC] += r.Replies
	}
	return out
}

func TestResponders(t *testing.T) {
	s := segment(t)
	observer := host(t, s, "observer", "10.99.0.1/24")
	one, two, three := host(t, s, "one", "10.99.0.2/24"), host(t, s, "two", "10.99.0.3/24"), host(t, s, "three", "10.99.0.4/24")
	addr := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, 40 + n}) }
	respond(t, one, world.Script{Addresses: []netip.Addr{addr(0), addr(1), addr(2), addr(3)}})
	respond(t, two, world.Script{Addresses: []netip.Addr{addr(1), addr(2)}})
	respond(t, three, world.Script{Addresses: []netip.Addr{addr(2)}})
	respond(t, three, world.Script{Addresses: []netip.Addr{addr(3)}, Answers: world.Every(10)})
	claimed := ether.HardwareAddr{2, 0xaa, 0, 0, 0, 1}
	respond(t, two, world.Script{Addresses: []netip.Addr{addr(4)}, MAC: claimed})
	got := ask(t, observer, 20, nil, addr(0), addr(1), addr(2), addr(3), addr(4), addr(5), one.Address)
	require.True(t, got.Complete)
	for i, want := range []map[string]int{
		{one.MAC.String(): 20},
		{one.MAC.String(): 20, two.MAC.String(): 20},
		{one.MAC.String(): 20, two.MAC.String(): 20, three.MAC.String(): 20},
		{one.MAC.String(): 20, three.MAC.String(): 2},
		{claimed.String(): 20},
		{},
		{one.MAC.String(): 20}, // the kernel's own answer
	} {
		require.Equal(t, want, replies(got.VIPs[i]), "%s", got.VIPs[i].VIP)
	}
	require.Equal(t, two.MAC.String(), got.VIPs[4].Responders[0].EthernetSource)
}

func TestProxyARPAnswersForAll(t *testing.T) {
	s := segment(t)
	observer := host(t, s, "observer", "10.99.0.1/24")
	router := host(t, s, "router", "10.99.9.9/32")
	require.NoError(t, router.ProxyARP())
	got := ask(t, observer, 5, nil, vip, netip.MustParseAddr("10.99.0.77"))
	for _, v := range got.VIPs {
		require.Equal(t, map[string]int{router.MAC.String(): 5}, replies(v))
	}
}

func TestTakeover(t *testing.T) {
	s := segment(t)
	observer := host(t, s, "observer", "10.99.0.1/24")
	one, two := host(t, s, "one", "10.99.0.2/24"), host(t, s, "two", "10.99.0.3/24")
	old, next := respond(t, one, world.Script{Addresses: []netip.Addr{vip}}), respond(t, two, world.Script{Addresses: []netip.Addr{vip}})
	next.Switch(false)
	got := ask(t, observer, 100, func() {
		time.Sleep(200 * time.Millisecond)
		old.Switch(false)
		next.Switch(true)
		require.NoError(t, next.Announce(vip))
	}, vip)
	require.Len(t, got.VIPs[0].Responders, 2)
	require.Equal(t, 1, got.VIPs[0].Gratuitous, "the announcement is no reply")
	require.True(t, got.VIPs[0].Responders[0].LastSeen.Before(got.VIPs[0].Responders[1].FirstSeen))
	require.Equal(t, two.MAC.String(), got.VIPs[0].Responders[1].MAC)
}

func TestLossIsOnTheWire(t *testing.T) {
	s := segment(t)
	observer := host(t, s, "observer", "10.99.0.1/24")
	one := host(t, s, "one", "10.99.0.2/24")
	require.NoError(t, observer.Lose(50))
	got := ask(t, observer, 200, nil, one.Address)
	// Outside of 60..140 of 200 at p = 0.5 is a chance of about 1e-8.
	require.Greater(t, got.VIPs[0].Answered, 60)
	require.Less(t, got.VIPs[0].Answered, 140)
}

func TestOutageIsAsLongAsItSays(t *testing.T) {
	s := segment(t)
	observer := host(t, s, "observer", "10.99.0.1/24")
	one := host(t, s, "one", "10.99.0.2/24")
	var from, to time.Time
	got := ask(t, observer, 120, func() {
		time.Sleep(100 * time.Millisecond)
		var err error
		from, to, err = one.Outage(300 * time.Millisecond)
		require.NoError(t, err)
	}, one.Address)
	require.GreaterOrEqual(t, to.Sub(from), 300*time.Millisecond)
	v := got.VIPs[0]
	require.Equal(t, 120, v.Sent, "the observer sends all the while")
	require.Less(t, v.Answered, 120)
	require.True(t, v.Responders[0].LastSeen.After(to), "it comes back without the host's noticing")
}

func TestNeighbourDiscovery(t *testing.T) {
	s := segment(t)
	observer := host(t, s, "observer", "fd00:99::1/64")
	kernel := host(t, s, "kernel", "fd00:99::2/64", "fd00:99::40/64")
	script, router := host(t, s, "script"), host(t, s, "router", "fd00:99::4/64")
	both, proxied, nobody := netip.MustParseAddr("fd00:99::40"), netip.MustParseAddr("fd00:99::41"), netip.MustParseAddr("fd00:99::42")
	r, err := script.RespondNDP(world.Script{Addresses: []netip.Addr{both}, Answers: world.Every(2)})
	require.NoError(t, err)
	_, err = router.RespondNDP(world.Script{Addresses: []netip.Addr{proxied}, MAC: kernel.MAC, Router: true, NoOverride: true})
	require.NoError(t, err)
	var conn ether.Conn
	require.NoError(t, observer.Do(func() (err error) {
		conn, err = ndp.Open(world.Interface)
		return err
	}))
	require.NoError(t, r.Announce(both)) // queued before the first probe
	var out bytes.Buffer
	require.NoError(t, ndp.Run(t.Context(), ndp.Config{
		Conn: conn, Targets: []netip.Addr{both, proxied, nobody, kernel.Address}, Count: 10, Interval: 10 * time.Millisecond, Settle: 300 * time.Millisecond,
	}, stream.NewWriter(&out)))
	records, err := stream.Read(&out)
	require.NoError(t, err)
	got, err := ndp.Summarize(records)
	require.NoError(t, err)
	require.True(t, got.Complete)
	require.Equal(t, map[string]int{kernel.MAC.String(): 10, script.MAC.String(): 5}, replies(got.VIPs[0]))
	require.Equal(t, 1, got.VIPs[0].Gratuitous)
	require.Equal(t, 10, got.VIPs[0].Answered)
	require.Equal(t, map[string]int{kernel.MAC.String(): 10}, replies(got.VIPs[1]))
	require.Equal(t, "RS", got.VIPs[1].Responders[0].Flags)
	require.Equal(t, router.MAC.String(), got.VIPs[1].Responders[0].EthernetSource)
	require.Positive(t, got.VIPs[1].Responders[0].RoundTripNS)
	require.Empty(t, got.VIPs[2].Responders)
	require.Equal(t, map[string]int{kernel.MAC.String(): 10}, replies(got.VIPs[3]))
	require.Equal(t, "SO", got.VIPs[3].Responders[0].Flags, "the kernel's own")
}

func BenchmarkSegmentOfFour(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: makes network namespaces")
	}
	for b.Loop() {
		s, err := world.New()
		require.NoError(b, err)
		for i, name := range []string{"observer", "one", "two", "three"} {
			_, err := s.Host(name, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, 0, byte(1 + i)}), 24))
			require.NoError(b, err)
		}
		require.NoError(b, s.Close())
	}
}
