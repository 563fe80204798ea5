// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package watch

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/containernetworking/plugins/pkg/testutils"
	"github.com/mdlayher/packet"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
	"github.com/lbmatrix/lbmatrix/harness/probe/ndp"
	"github.com/lbmatrix/lbmatrix/harness/probe/request"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/probe/timeline"
)

const (
	clientAddress = "10.98.0.1"
	serverAddress = "10.98.0.2"
)

// pair is two hosts on one link.
type pair struct{ client, server ns.NetNS }

func newPair(t testing.TB) pair {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	var p pair
	for _, n := range []*ns.NetNS{&p.client, &p.server} {
		created, err := testutils.NewNS()
		require.NoError(t, err)
		*n = created
		t.Cleanup(func() {
			_ = created.Close()
			_ = testutils.UnmountNS(created)
		})
	}
	require.NoError(t, p.client.Do(func(ns.NetNS) error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(p.server.Fd()))})
	}))
	for _, host := range []struct {
		ns      ns.NetNS
		address string
	}{{p.client, clientAddress}, {p.server, serverAddress}} {
		require.NoError(t, host.ns.Do(func(ns.NetNS) error {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			address, err := netlink.ParseAddr(host.address + "/24")
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(link, address); err != nil {
				return err
			}
			return netlink.LinkSetUp(link)
		}))
	}
	p.awaitCarrier(t)
	return p
}

// awaitCarrier waits until the link is up: that happens in the background.
func (p pair) awaitCarrier(t testing.TB) {
	t.Helper()
	for _, host := range []ns.NetNS{p.client, p.server} {
		require.Eventually(t, func() bool {
			up := false
			_ = host.Do(func(ns.NetNS) error {
				link, err := netlink.LinkByName("eth0")
				up = err == nil && link.Attrs().OperState == netlink.OperUp
				return err
			})
			return up
		}, 30*time.Second, 5*time.Millisecond)
	}
}

func (p pair) on(host ns.NetNS) func(func() error) error {
	return func(run func() error) error { return host.Do(func(ns.NetNS) error { return run() }) }
}

// dial connects from the client: whatever goroutine asks, its socket must be made there.
// Without it a probe would leave from the namespace of the process.
func (p pair) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = p.client.Do(func(ns.NetNS) error {
		conn, err = request.Dialer(netip.Addr{})(ctx, network, address)
		return err
	})
	return conn, err
}

// silence makes the server deaf to the client, at one moment: with no way back to it, the
// kernel takes whatever it sends for a forgery (fib_validate_source), and ARP probes,
// which come from no address, are ignored by arp_ignore 8. It returns how long that
// lasted, as nearly as can be told from outside: from the middle of the one change to
// the middle of the other.
func (p pair) silence(t testing.TB, d time.Duration) time.Duration {
	t.Helper()
	var ignore *os.File
	var handle *netlink.Handle
	require.NoError(t, p.server.Do(func(ns.NetNS) (err error) {
		if handle, err = netlink.NewHandle(); err != nil {
			return err
		}
		ignore, err = os.OpenFile("/proc/sys/net/ipv4/conf/eth0/arp_ignore", os.O_WRONLY, 0)
		return err
	}))
	defer handle.Close()
	defer ignore.Close()
	route := &netlink.Route{Dst: netlink.NewIPNet(net.ParseIP(clientAddress)), Type: unix.RTN_BLACKHOLE}
	change := func(value string, change func(*netlink.Route) error) time.Time {
		begin := time.Now()
		require.NoError(t, change(route))
		_, err := ignore.WriteAt([]byte(value), 0)
		require.NoError(t, err)
		return begin.Add(time.Since(begin) / 2)
	}
	from := change("8", handle.RouteAdd)
	time.Sleep(time.Until(from.Add(d)))
	return change("0", handle.RouteDel).Sub(from)
}

// A silence is seen by every kind of traffic, and once.
func TestNamespaceOutage(t *testing.T) {
	p := newPair(t)
	b := newBackend(t, "a", serverAddress, p.on(p.server))
	w := begin(t, Config{
		New: b.http, Long: b.tcp, UDP: b.udp, ARP: ARP{VIP: netip.MustParseAddr(serverAddress), Interface: "eth0", OwnMAC: true},
		Interval: 5 * time.Millisecond, Timeout: 400 * time.Millisecond, Dial: p.dial,
	}, p.on(p.client))
	w.await(2 + 4*2) // all of them have been well
	silent := p.silence(t, 700*time.Millisecond)
	time.Sleep(1500 * time.Millisecond) // the long-lived connection sends again, later and later
	got, _ := w.end()
	for _, traffic := range got.Traffic {
		require.NotEmpty(t, traffic.Outages, traffic.Traffic)
		// A busy machine adds outages and lengthens them.
		least := silent.Nanoseconds() - slack(traffic)
		if traffic.Traffic == probe.TrafficLong {
			least -= traffic.TimeoutNS // what is sent again arrives within its timeout
		}
		require.GreaterOrEqual(t, traffic.LongestNS, least, "%s: %+v", traffic.Traffic, traffic.Outages)
		require.Positive(t, traffic.OK, "%+v", traffic)
	}
	require.Contains(t, byName(t, got, probe.TrafficNew).Outages[0].Errors, probe.ErrorTimeout)
	require.Contains(t, byName(t, got, probe.TrafficARP).Outages[0].Errors, probe.ErrorUnanswered)
	macs := map[string]bool{}
	for _, s := range got.Responders {
		macs[s.MAC] = true
	}
	require.Len(t, macs, 1)
	require.Empty(t, got.Overlaps)
}

// responder answers every who-has for the VIP while it is on.
type responder struct {
	on      atomic.Bool
	answers atomic.Int64
}

// await waits until it has answered so often from now on.
func (r *responder) await(t *testing.T, n int64) {
	t.Helper()
	from := r.answers.Load()
	require.Eventually(t, func() bool { return r.answers.Load()-from >= n }, time.Minute, 5*time.Millisecond)
}

func newResponder(t *testing.T, host ns.NetNS, mac arp.HardwareAddr, vip netip.Addr) *responder {
	t.Helper()
	var out arp.Conn
	var in net.PacketConn
	require.NoError(t, host.Do(func(ns.NetNS) (err error) {
		out, err = arp.Open("eth0")
		if err == nil {
			in, err = listenWhoHas()
		}
		return err
	}))
	r := &responder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1600)
		for {
			n, _, err := in.ReadFrom(buffer)
			if err != nil {
				return
			}
			f, err := arp.Parse(buffer[:n])
			if err != nil || f.Op != arp.OpRequest || f.TargetIP != vip || f.SenderIP == vip || !r.on.Load() {
				continue
			}
			_ = out.Send(arp.Frame{
				EthernetDestination: f.SenderMAC, EthernetSource: mac, Op: arp.OpReply, SenderMAC: mac, SenderIP: vip, TargetMAC: f.SenderMAC, TargetIP: f.SenderIP,
			}.Bytes())
			r.answers.Add(1)
		}
	}()
	t.Cleanup(func() {
		_ = in.Close()
		_ = out.Close()
		<-done
	})
	return r
}

// One answers, then both, then the other alone: they overlap.
func TestNamespaceTwoResponders(t *testing.T) {
	p := newPair(t)
	shared := netip.MustParseAddr("10.98.0.77")
	one, two := newResponder(t, p.server, first, shared), newResponder(t, p.server, second, shared)
	one.on.Store(true)
	w := begin(t, Config{ARP: ARP{VIP: shared, Interface: "eth0", OwnMAC: true}, Interval: 5 * time.Millisecond}, p.on(p.client))
	one.await(t, 40)
	two.on.Store(true)
	two.await(t, 20)
	one.await(t, 20)
	one.on.Store(false)
	two.await(t, 40)
	got, _ := w.end()
	// One, unless the machine is so busy that an answer takes longer than the grace.
	require.NotEmpty(t, got.Overlaps)
	var both int64
	for _, o := range got.Overlaps {
		require.Equal(t, [2]string{first.String(), second.String()}, o.MACs)
		both += o.Probes
	}
	require.Greater(t, both, int64(1))
	require.Less(t, both, got.Traffic[0].Probes)
	var replies int
	for _, s := range got.Responders {
		replies += s.Replies
	}
	require.GreaterOrEqual(t, replies, int(got.Traffic[0].OK))
	require.NotEqual(t, macOf(t, p.client), got.Traffic[0].MAC, "a MAC of its own asked")
}

func macOf(t *testing.T, host ns.NetNS) (mac string) {
	t.Helper()
	require.NoError(t, host.Do(func(ns.NetNS) error {
		link, err := netlink.LinkByName("eth0")
		if err == nil {
			mac = link.Attrs().HardwareAddr.String()
		}
		return err
	}))
	return mac
}

// Passive watching sends nothing, and hears announcements.
func TestNamespacePassive(t *testing.T) {
	p := newPair(t)
	w := begin(t, Config{ARP: ARP{VIP: vip, Interface: "eth0", Passive: true}}, p.on(p.client))
	time.Sleep(300 * time.Millisecond)
	var out arp.Conn
	require.NoError(t, p.server.Do(func(ns.NetNS) (err error) { out, err = arp.Open("eth0"); return err }))
	defer out.Close()
	require.NoError(t, out.Send(arp.Frame{
		EthernetDestination: arp.Broadcast(), EthernetSource: first, Op: arp.OpRequest, SenderMAC: first, SenderIP: vip, TargetIP: vip,
	}.Bytes()))
	time.Sleep(200 * time.Millisecond)
	got, _ := w.end()
	require.Len(t, got.Gratuitous, 1)
	require.Equal(t, first.String(), got.Gratuitous[0].SenderMAC)
	require.Zero(t, got.Traffic[0].Probes)
	require.Empty(t, got.Traffic[0].Outages)
}

// Who advertises an IPv6 address, and who answers others for it: here the kernels of the
// two hosts, and a second responder that announces itself and answers for a while.
func TestNamespaceAdvertisements(t *testing.T) {
	p := newPair(t)
	clientAt, serverAt := netip.MustParseAddr("fd00:98::1"), netip.MustParseAddr("fd00:98::2")
	for host, address := range map[ns.NetNS]netip.Addr{p.client: clientAt, p.server: serverAt} {
		require.NoError(t, host.Do(func(ns.NetNS) error {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD})
		}))
	}
	w := begin(t, Config{NDP: NDP{VIP: serverAt, Interface: "eth0", Grace: time.Minute}}, p.on(p.client))
	w.await(1) // its socket is open
	// The client's kernel asks, and the server's answers it.
	var datagrams net.Conn
	require.NoError(t, p.client.Do(func(ns.NetNS) (err error) {
		datagrams, err = net.Dial("udp", netip.AddrPortFrom(serverAt, 9).String())
		return err
	}))
	defer datagrams.Close()
	_, err := datagrams.Write([]byte("x"))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		found := false
		_ = p.client.Do(func(ns.NetNS) error {
			neighbours, err := netlink.NeighList(0, netlink.FAMILY_V6)
			for _, n := range neighbours {
				found = found || n.IP.Equal(serverAt.AsSlice()) && n.State&(netlink.NUD_REACHABLE|netlink.NUD_STALE) != 0
			}
			return err
		})
		return found
	}, time.Minute, 5*time.Millisecond, "it was answered")
	var out ether.Conn
	require.NoError(t, p.server.Do(func(ns.NetNS) (err error) { out, err = ndp.Open("eth0"); return err }))
	defer out.Close()
	other := ether.HardwareAddr{2, 0, 0, 0, 0, 9} // who is answered is a third host: it takes promiscuity to hear that
	answer := func(from ether.HardwareAddr) {
		t.Helper()
		require.NoError(t, out.Send(advertisement(serverAt, from, other, netip.MustParseAddr("fd00:98::9")).Bytes()))
	}
	announcement := advertisement(serverAt, second, ndp.AllNodes(), netip.MustParseAddr("ff02::1"))
	announcement.Solicited = false
	require.NoError(t, out.Send(announcement.Bytes()))
	answer(second)
	kernel, err := net.ParseMAC(macOf(t, p.server))
	require.NoError(t, err)
	answer(ether.HardwareAddr(kernel)) // the one goes on after the other began
	answer(second)
	w.await(1 + 1 + 3) // the announcement, and three rows that another's answer ended
	got, _ := w.end()
	require.Len(t, got.Unsolicited, 1)
	require.Equal(t, second.String(), got.Unsolicited[0].TargetMAC)
	replies := map[string]int{}
	for _, s := range got.Responders {
		require.Equal(t, serverAt, s.VIP)
		replies[s.MAC] += s.Replies
	}
	require.GreaterOrEqual(t, replies[net.HardwareAddr(kernel).String()], 2, "the kernel's answer, and ours in its name")
	require.Equal(t, 2, replies[second.String()])
	require.NotEmpty(t, got.Overlaps, "%+v", got.Responders)
	require.True(t, got.Disturbed())
	require.Zero(t, byName(t, got, probe.TrafficNDP).Probes)
	require.Zero(t, got.KernelDrops)
	var text bytes.Buffer
	require.NoError(t, timeline.Table(&text, got))
	require.Contains(t, text.String(), "advertised  "+second.String()+" says that fd00:98::2 is at it")
	require.Contains(t, text.String(), " ndp         fd00:98::2 is at ")
}

// advertisement is a solicited one.
func advertisement(target netip.Addr, from, to ether.HardwareAddr, destination netip.Addr) ndp.Frame {
	return ndp.Frame{
		EthernetDestination: to, EthernetSource: from, Source: target, Destination: destination, Type: ndp.TypeAdvertisement,
		Solicited: true, Override: true, Target: target, LinkAddress: from, HasLinkAddress: true,
	}
}

// TestEvidenceOutage measures outages of known length with the real program, as
// .ci/evidence-load asks: LBMATRIX_EVIDENCE_OUTAGES of 3.000 s each, at a probe a
// millisecond of the traffic LBMATRIX_EVIDENCE_TRAFFIC, with LBMATRIX_EVIDENCE_LBPROBE.
func TestEvidenceOutage(t *testing.T) {
	var rounds int
	program := os.Getenv("LBMATRIX_EVIDENCE_LBPROBE")
	if _, err := fmt.Sscan(os.Getenv("LBMATRIX_EVIDENCE_OUTAGES"), &rounds); err != nil || program == "" {
		t.Skip("set LBMATRIX_EVIDENCE_OUTAGES to the number of outages, and LBMATRIX_EVIDENCE_LBPROBE to the program")
	}
	p := newPair(t)
	b := newBackend(t, "a", serverAddress, p.on(p.server))
	// Who makes the outages must not wait for a turn either, or their length is not known.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 2}, 0); err != nil {
		fmt.Printf("no realtime scheduling of the outages themselves: %v\n", err)
	}
	args, known := map[string][]string{
		probe.TrafficNew: {"--new", b.http, "--mode", probe.ModeTCPConnect},
		probe.TrafficUDP: {"--udp", b.udp},
		probe.TrafficARP: {"--arp", serverAddress, "--interface", "eth0", "--own-mac"},
	}[os.Getenv("LBMATRIX_EVIDENCE_TRAFFIC")]
	require.True(t, known, "LBMATRIX_EVIDENCE_TRAFFIC is new, udp or arp")
	var out bytes.Buffer
	command := exec.CommandContext(t.Context(), "nsenter", append([]string{
		"--net=" + p.client.Path(), program, "watch", "--realtime", "--interval", "1ms", "--deadline", "10m",
	}, args...)...)
	command.Stdout, command.Stderr = &out, os.Stderr
	stdin, err := command.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	var truth []time.Duration
	for range rounds {
		time.Sleep(700 * time.Millisecond)
		truth = append(truth, p.silence(t, 3*time.Second))
	}
	time.Sleep(700 * time.Millisecond)
	require.NoError(t, stdin.Close())
	require.NoError(t, command.Wait())
	records, err := stream.Read(&out)
	require.NoError(t, err)
	got, err := timeline.Read(records)
	require.NoError(t, err)
	require.True(t, got.Complete, got.Reason)
	reportOutages(t, got.Traffic[0], truth)
}

// reportOutages prints each error, and fails when one is over 5 ms, or when the truth is
// not within the bounds that the records give, by more than 1 ms. Blips of the client itself, on a machine
// that is busy, are told and left out.
func reportOutages(t *testing.T, traffic timeline.Traffic, truth []time.Duration) {
	t.Helper()
	var long, short []timeline.Outage
	for _, o := range traffic.Outages {
		if time.Duration(o.LengthNS) > time.Second {
			long = append(long, o)
		} else {
			short = append(short, o)
		}
	}
	require.Len(t, long, len(truth), "%+v", traffic.Outages)
	worst, outside := time.Duration(0), 0
	for i, o := range long {
		e := time.Duration(o.LengthNS) - truth[i]
		fmt.Printf("%s round %d: truth %.3f ms, measured %.3f ms, error %+.3f ms, bounds %.3f to %.3f ms, %d probes failed\n",
			traffic.Traffic, i+1, ms(truth[i]), ms(time.Duration(o.LengthNS)), ms(e), float64(o.AtLeastNS)/1e6, float64(o.AtMostNS)/1e6, o.Failed)
		if at := truth[i].Nanoseconds(); at < o.AtLeastNS-1e6 || at > o.AtMostNS+1e6 {
			outside++
		}
		worst = max(worst, e.Abs())
	}
	fmt.Printf("%s: %d outages, worst error %.3f ms, %d outside of their bounds; %d probes, %d late, lateness p99.9 %.3f ms; %d other outages\n",
		traffic.Traffic, len(long), ms(worst), outside, traffic.Probes, traffic.Late, float64(traffic.Latency[probe.HistogramLateness].P999)/1e6, len(short))
	require.LessOrEqual(t, worst, 5*time.Millisecond)
	require.Zero(t, outside)
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// listenWhoHas hears every ARP frame, the questions among them.
func listenWhoHas() (net.PacketConn, error) {
	ifi, err := net.InterfaceByName("eth0")
	if err != nil {
		return nil, err
	}
	return packet.Listen(ifi, packet.Raw, unix.ETH_P_ARP, nil)
}
