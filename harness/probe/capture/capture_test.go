// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package capture

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/containernetworking/plugins/pkg/testutils"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// The filter keeps exactly the frames that its comment says.
func TestFilterKeepsWhatOpensConnections(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		address := func(label string) netip.Addr {
			return netip.AddrFrom4([4]byte{10, 0, 0, rapid.ByteRange(1, 9).Draw(t, label)})
		}
		var wanted []netip.Addr
		for range rapid.IntRange(1, maxAddresses).Draw(t, "addresses") {
			wanted = append(wanted, address("wanted"))
		}
		raw, err := filter(wanted)
		if err != nil {
			t.Fatal(err)
		}
		program, ok := bpf.Disassemble(raw)
		if !ok {
			t.Fatal("cannot be disassembled")
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		src, dst := address("src"), address("dst")
		ip := &layers.IPv4{Version: 4, TTL: 64, SrcIP: src.AsSlice(), DstIP: dst.AsSlice(), FragOffset: rapid.SampledFrom([]uint16{0, 0, 185}).Draw(t, "fragment")}
		if rapid.Bool().Draw(t, "options") { // Cilium's DSR puts its option there
			ip.Options = []layers.IPv4Option{{OptionType: 154, OptionLength: 8, OptionData: make([]byte, 6)}}
		}
		ether := &layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4}
		var transport gopacket.SerializableLayer
		kept := false
		switch rapid.SampledFrom([]string{"tcp", "udp", "icmp"}).Draw(t, "protocol") {
		case "tcp":
			tcp := &layers.TCP{SrcPort: 1, DstPort: 80, SYN: rapid.Bool().Draw(t, "syn"), ACK: rapid.Bool().Draw(t, "ack"), FIN: rapid.Bool().Draw(t, "fin")}
			ip.Protocol, transport, kept = layers.IPProtocolTCP, tcp, tcp.SYN
		case "udp":
			ip.Protocol, transport, kept = layers.IPProtocolUDP, &layers.UDP{SrcPort: 1, DstPort: 2}, true
		default:
			ip.Protocol, transport = layers.IPProtocolICMPv4, &layers.ICMPv4{}
		}
		if !rapid.Bool().Draw(t, "ipv4") {
			ether.EthernetType, kept = layers.EthernetTypeARP, false
		}
		about := false
		for _, a := range wanted {
			about = about || a == src || a == dst
		}
		kept = kept && about && ip.FragOffset == 0
		buf := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, ether, ip, transport, gopacket.Payload(make([]byte, 40))); err != nil {
			t.Fatal(err)
		}
		n, err := vm.Run(buf.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if (n > 0) != kept {
			t.Fatalf("kept %d bytes, want kept %t: %x", n, kept, buf.Bytes())
		}
	})
}

func TestFilterRefusesAddresses(t *testing.T) {
	_, err := filter(nil)
	require.ErrorContains(t, err, "want 1 to 32")
	_, err = filter([]netip.Addr{netip.MustParseAddr("::1")})
	require.ErrorContains(t, err, "not IPv4")
}

// A connection on a real link leaves one SYN out and one SYN-ACK in, with the MACs of
// both ends; a datagram and its echo two more.
func TestNamespaceCapture(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	var hosts [2]ns.NetNS
	for i := range hosts {
		n, err := testutils.NewNS()
		require.NoError(t, err)
		hosts[i] = n
		t.Cleanup(func() { _ = n.Close(); _ = testutils.UnmountNS(n) })
	}
	macs := [2]string{}
	require.NoError(t, hosts[0].Do(func(ns.NetNS) error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(hosts[1].Fd()))})
	}))
	for i, address := range []string{"10.99.1.1/24", "10.99.1.2/24"} {
		require.NoError(t, hosts[i].Do(func(ns.NetNS) error {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			macs[i] = link.Attrs().HardwareAddr.String()
			a, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(link, a); err != nil {
				return err
			}
			return netlink.LinkSetUp(link)
		}))
	}
	var listener net.Listener
	var udp net.PacketConn
	require.NoError(t, hosts[1].Do(func(ns.NetNS) (err error) {
		if listener, err = net.Listen("tcp4", "10.99.1.2:80"); err == nil {
			udp, err = net.ListenPacket("udp4", "10.99.1.2:81")
		}
		return err
	}))
	defer listener.Close()
	defer udp.Close()
	go func() {
		buf := make([]byte, 64)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(buf[:n], from)
		}
	}()

	vip := netip.MustParseAddr("10.99.1.2")
	var out bytes.Buffer
	stdin, closeStdin, err := os.Pipe()
	require.NoError(t, err)
	ctx, cancel := stream.Lifetime(t.Context(), stdin, 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- hosts[0].Do(func(ns.NetNS) error {
			return Run(ctx, Config{Interface: "eth0", Addresses: []netip.Addr{vip}}, stream.NewWriter(&out))
		})
	}()
	time.Sleep(200 * time.Millisecond)
	require.NoError(t, hosts[0].Do(func(ns.NetNS) error {
		c, err := net.DialTimeout("tcp4", "10.99.1.2:80", 5*time.Second)
		if err != nil {
			return err
		}
		_ = c.Close()
		u, err := net.Dial("udp4", "10.99.1.2:81")
		if err != nil {
			return err
		}
		defer u.Close()
		_ = u.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := u.Write([]byte("hello")); err != nil {
			return err
		}
		_, err = u.Read(make([]byte, 16))
		return err
	}))
	require.NoError(t, closeStdin.Close())
	require.NoError(t, <-done)

	records, err := stream.Read(bytes.NewReader(out.Bytes()))
	require.NoError(t, err)
	end, err := probe.Decode[probe.End](records[len(records)-1])
	require.NoError(t, err)
	require.Equal(t, probe.ReasonDone, end.Reason, end.Error)
	type seen struct {
		outgoing bool
		src, dst string
		what     string
	}
	var frames []seen
	for _, r := range records {
		if r.Kind != probe.KindCaptureFrame {
			continue
		}
		f, err := probe.Decode[probe.CaptureFrame](r)
		require.NoError(t, err)
		require.NotZero(t, f.AtNS)
		p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.NoCopy)
		ether := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		what := "udp"
		if tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP); ok {
			what = "syn"
			if tcp.ACK {
				what = "syn-ack"
			}
		}
		frames = append(frames, seen{f.Outgoing, ether.SrcMAC.String(), ether.DstMAC.String(), what})
	}
	require.Equal(t, []seen{
		{true, macs[0], macs[1], "syn"},
		{false, macs[1], macs[0], "syn-ack"},
		{true, macs[0], macs[1], "udp"},
		{false, macs[1], macs[0], "udp"},
	}, frames)
}

func TestCaptureOfNoInterfaceHasItsEnd(t *testing.T) {
	var out bytes.Buffer
	err := Run(context.Background(), Config{Interface: "nosuch", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}, stream.NewWriter(&out))
	require.ErrorContains(t, err, "nosuch")
	records, err := stream.Read(bytes.NewReader(out.Bytes()))
	require.NoError(t, err)
	require.Len(t, records, 2)
}
