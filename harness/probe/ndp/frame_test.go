// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ndp

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
)

func testFrame() Frame {
	return Frame{
		EthernetDestination: ether.HardwareAddr{2, 0, 0, 0, 0, 1}, EthernetSource: ether.HardwareAddr{2, 0, 0, 0, 0, 2},
		Source: netip.MustParseAddr("fe80::2"), Destination: netip.MustParseAddr("fe80::1"),
		Type: TypeAdvertisement, Solicited: true, Override: true, Target: netip.MustParseAddr("2001:db8::40"),
		LinkAddress: ether.HardwareAddr{2, 0, 0, 0, 0, 3}, HasLinkAddress: true,
	}
}

// repaired has the right checksum again, so that a test sees the refusal it is about.
func repaired(b []byte) []byte {
	b[icmpAt+2], b[icmpAt+3] = 0, 0
	sum := checksum(b)
	b[icmpAt+2], b[icmpAt+3] = byte(sum>>8), byte(sum)
	return b
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func([]byte) []byte
		want   string // empty: it parses
	}{
		{"whole", func(b []byte) []byte { return b }, ""},
		{"Ethernet padding", func(b []byte) []byte { return append(b, 0xff, 0xff) }, ""},
		{"empty", func([]byte) []byte { return nil }, "0 bytes"},
		{"truncated option", func(b []byte) []byte { return b[:len(b)-1] }, "payload"},
		{"longer than any frame", func(b []byte) []byte { return append(b, make([]byte, 1500)...) }, "bytes"},
		{"ethertype", func(b []byte) []byte { b[13] = 0; return b }, "ethertype"},
		{"IP version", func(b []byte) []byte { b[ipAt] = 0x45; return b }, "version 4"},
		{"extension header", func(b []byte) []byte { b[ipAt+6] = 0; return b }, "next header 0"},
		{"came through a router", func(b []byte) []byte { b[ipAt+7] = 254; return b }, "hop limit 254"},
		{"payload too short", func(b []byte) []byte { b[ipAt+5] = 20; return b }, "payload of 20"},
		{"router advertisement", func(b []byte) []byte { b[icmpAt] = 134; return repaired(b) }, "type 134"},
		{"code", func(b []byte) []byte { b[icmpAt+1] = 1; return repaired(b) }, "code 1"},
		{"checksum", func(b []byte) []byte { b[targetAt+15] ^= 1; return b }, "checksum"},
		{"multicast target", func(b []byte) []byte { b[targetAt] = 0xff; return repaired(b) }, "target"},
		{"solicited, to a group", func(b []byte) []byte { b[ipAt+24] = 0xff; return repaired(b) }, "solicited"},
		{"option of length 0", func(b []byte) []byte { b[optionsAt+1] = 0; return repaired(b) }, "option"},
		{"option longer than the packet", func(b []byte) []byte { b[optionsAt+1] = 2; return repaired(b) }, "option"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := Parse(test.change(testFrame().Bytes()))
			if test.want == "" {
				require.NoError(t, err)
				require.Equal(t, testFrame(), f)
				return
			}
			require.ErrorIs(t, err, ErrMalformed)
			require.ErrorContains(t, err, test.want)
		})
	}
}

// Another implementation reads what Bytes writes.
func TestBytesAsGopacketReadsThem(t *testing.T) {
	f := testFrame()
	p := gopacket.NewPacket(f.Bytes(), layers.LayerTypeEthernet, gopacket.Default)
	require.Nil(t, p.ErrorLayer())
	na, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	require.True(t, ok)
	require.Equal(t, f.Target.AsSlice(), []byte(na.TargetAddress))
	require.False(t, na.Router())
	require.True(t, na.Solicited())
	require.True(t, na.Override())
	require.Equal(t, f.LinkAddress[:], na.Options[0].Data)

	f.Type, f.Solicited, f.Override = TypeSolicitation, false, false
	f.Destination, f.EthernetDestination = SolicitedNode(f.Target)
	require.Equal(t, "ff02::1:ff00:40", f.Destination.String())
	require.Equal(t, "33:33:ff:00:00:40", f.EthernetDestination.String())
	p = gopacket.NewPacket(f.Bytes(), layers.LayerTypeEthernet, gopacket.Default)
	ip, ok := p.NetworkLayer().(*layers.IPv6)
	require.True(t, ok)
	require.EqualValues(t, 255, ip.HopLimit)
	icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	require.True(t, ok)
	written := icmp.Checksum
	require.NoError(t, icmp.SetNetworkLayerForChecksum(ip))
	out := gopacket.NewSerializeBuffer()
	ns, ok := p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation)
	require.True(t, ok)
	require.Equal(t, layers.ICMPv6OptSourceAddress, ns.Options[0].Type)
	require.NoError(t, gopacket.SerializeLayers(out, gopacket.SerializeOptions{ComputeChecksums: true, FixLengths: true}, ip, icmp, ns))
	require.Equal(t, written, icmp.Checksum, "as gopacket computes it")
}

func drawFrame(t *rapid.T) Frame {
	mac := rapid.Custom(func(t *rapid.T) ether.HardwareAddr {
		return ether.HardwareAddr(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac"))
	})
	addr := rapid.Custom(func(t *rapid.T) netip.Addr {
		b := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address"))
		b[0] &= 0x7f // unicast
		return netip.AddrFrom16(b)
	})
	f := Frame{
		EthernetDestination: mac.Draw(t, "to"), EthernetSource: mac.Draw(t, "from"), Source: addr.Draw(t, "source"),
		Destination: addr.Draw(t, "destination"), Target: addr.Draw(t, "target"),
		Type: rapid.SampledFrom([]uint8{TypeSolicitation, TypeAdvertisement}).Draw(t, "type"), HasLinkAddress: rapid.Bool().Draw(t, "option"),
	}
	if f.HasLinkAddress {
		f.LinkAddress = mac.Draw(t, "link address")
	}
	if f.Type == TypeAdvertisement {
		f.Router, f.Solicited, f.Override = rapid.Bool().Draw(t, "R"), rapid.Bool().Draw(t, "S"), rapid.Bool().Draw(t, "O")
	}
	return f
}

func TestFramesComeBack(t *testing.T) {
	raw, err := filter()
	require.NoError(t, err)
	program, ok := bpf.Disassemble(raw)
	require.True(t, ok)
	vm, err := bpf.NewVM(program)
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		want := drawFrame(t)
		got, err := Parse(want.Bytes())
		if err != nil || got != want {
			t.Fatalf("%+v came back as %+v: %v", want, got, err)
		}
		if n, err := vm.Run(want.Bytes()); err != nil || (n > 0) != (want.Type == TypeAdvertisement) {
			t.Fatalf("the filter passed %d bytes: %v", n, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(testFrame().Bytes())
	question := testFrame()
	question.Type, question.Solicited, question.Override = TypeSolicitation, false, false
	f.Add(question.Bytes())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := Parse(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		again, err := Parse(frame.Bytes())
		require.NoError(t, err)
		require.Equal(t, frame, again)
	})
}

func BenchmarkParse(b *testing.B) {
	raw := testFrame().Bytes()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}
