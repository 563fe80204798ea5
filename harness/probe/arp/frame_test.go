// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package arp

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"
	"pgregory.net/rapid"
)

func testFrame() Frame {
	return Frame{
		EthernetDestination: HardwareAddr{2, 0, 0, 0, 0, 1}, EthernetSource: HardwareAddr{2, 0, 0, 0, 0, 2},
		Op: OpReply, SenderMAC: HardwareAddr{2, 0, 0, 0, 0, 3}, SenderIP: netip.MustParseAddr("10.0.0.9"),
		TargetMAC: HardwareAddr{2, 0, 0, 0, 0, 1}, TargetIP: netip.MustParseAddr("10.0.0.1"),
	}
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func([]byte) []byte
		ok     bool
	}{
		{"padded", func(b []byte) []byte { return b }, true},
		{"unpadded", func(b []byte) []byte { return b[:42] }, true},
		{"padding with rubbish", func(b []byte) []byte { b[50] = 0xff; return b }, true},
		{"empty", func([]byte) []byte { return nil }, false},
		{"truncated", func(b []byte) []byte { return b[:41] }, false},
		{"longer than any frame", func(b []byte) []byte { return append(b, make([]byte, 1500)...) }, false},
		{"ethertype", func(b []byte) []byte { b[13] = 0; return b }, false},
		{"vlan tag left in", func(b []byte) []byte { b[12], b[13] = 0x81, 0; return b }, false},
		{"hardware type", func(b []byte) []byte { b[15] = 6; return b }, false},
		{"protocol", func(b []byte) []byte { b[16] = 0x86; return b }, false},
		{"hardware length", func(b []byte) []byte { b[18] = 8; return b }, false},
		{"protocol length", func(b []byte) []byte { b[19] = 16; return b }, false},
		{"operation 0", func(b []byte) []byte { b[21] = 0; return b }, false},
		{"RARP operation 3", func(b []byte) []byte { b[21] = 3; return b }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			frame, err := Parse(test.change(testFrame().Bytes()))
			if test.ok {
				require.NoError(t, err)
				require.Equal(t, testFrame(), frame)
				return
			}
			require.ErrorIs(t, err, ErrMalformed)
		})
	}
}

func TestBytesIsTheWireFormat(t *testing.T) {
	require.Equal(t, []byte{
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 6, // Ethernet
		0, 1, 8, 0, 6, 4, 0, 2, // Ethernet, IPv4, lengths, reply
		2, 0, 0, 0, 0, 3, 10, 0, 0, 9,
		2, 0, 0, 0, 0, 1, 10, 0, 0, 1,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // padded to 60
	}, testFrame().Bytes())
}

func TestGratuitous(t *testing.T) {
	vip, other := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.1")
	for _, test := range []struct {
		name        string
		op          uint16
		target      netip.Addr
		destination HardwareAddr
		want        bool
	}{
		{"who-has", OpRequest, other, Broadcast(), false},
		{"announcement", OpRequest, vip, Broadcast(), true},
		{"reply to us", OpReply, other, HardwareAddr{2}, false},
		{"broadcast reply", OpReply, other, Broadcast(), true},
		{"unicast reply about itself", OpReply, vip, HardwareAddr{2}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := Frame{Op: test.op, SenderIP: vip, TargetIP: test.target, EthernetDestination: test.destination}
			require.Equal(t, test.want, f.Gratuitous())
		})
	}
}

// The filter must pass all that Parse and Gratuitous would have us record.
func TestFilterPassesAllButPlainRequests(t *testing.T) {
	raw, err := filter()
	require.NoError(t, err)
	program, ok := bpf.Disassemble(raw)
	require.True(t, ok)
	vm, err := bpf.NewVM(program)
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		address := rapid.Custom(func(t *rapid.T) netip.Addr {
			return netip.AddrFrom4([4]byte{rapid.SampledFrom([]byte{10, 250}).Draw(t, "net"), 0, 0, rapid.ByteRange(0, 2).Draw(t, "host")})
		})
		f := testFrame()
		f.Op = rapid.Uint16Range(0, 4).Draw(t, "op")
		f.SenderIP, f.TargetIP = address.Draw(t, "sender"), address.Draw(t, "target")
		raw := f.Bytes()
		isARP := rapid.Bool().Draw(t, "arp")
		if !isARP {
			raw[13] = 0 // IPv4
		}
		n, err := vm.Run(raw)
		if err != nil {
			t.Fatal(err)
		}
		if want := isARP && (f.Op != OpRequest || f.SenderIP == f.TargetIP); (n > 0) != want {
			t.Fatalf("passed %d bytes of %+v", n, f)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(testFrame().Bytes())
	f.Add(testFrame().Bytes()[:42])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := Parse(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		require.Equal(t, b[:frameEnd], frame.Bytes()[:frameEnd])
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
