// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package pcap

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

var (
	clientMAC    = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	announcerMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	backendMAC   = net.HardwareAddr{2, 0, 0, 0, 0, 3}
)

// frame is a segment between the client's port and the VIP; out of the client or in.
func frame(t testing.TB, out bool, mac net.HardwareAddr, port int, transport gopacket.SerializableLayer) probe.CaptureFrame {
	t.Helper()
	ether := &layers.Ethernet{SrcMAC: mac, DstMAC: clientMAC, EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{Version: 4, TTL: 64, SrcIP: net.IP{10, 0, 0, 9}, DstIP: net.IP{10, 0, 0, 1}, Protocol: layers.IPProtocolTCP}
	if out {
		ether.SrcMAC, ether.DstMAC = clientMAC, mac
		ip.SrcIP, ip.DstIP = ip.DstIP, ip.SrcIP
	}
	switch l := transport.(type) {
	case *layers.TCP:
		l.SrcPort, l.DstPort = 80, layers.TCPPort(port)
		if out {
			l.SrcPort, l.DstPort = l.DstPort, l.SrcPort
		}
	case *layers.UDP:
		ip.Protocol = layers.IPProtocolUDP
		l.SrcPort, l.DstPort = 80, layers.UDPPort(port)
		if out {
			l.SrcPort, l.DstPort = l.DstPort, l.SrcPort
		}
	}
	buffer := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true}, ether, ip, transport))
	return probe.CaptureFrame{AtNS: 1_500_000_000_000_000_001, Outgoing: out, Length: len(buffer.Bytes()) + 100, Data: buffer.Bytes()}
}

func records(t testing.TB, frames ...probe.CaptureFrame) []probe.Record {
	t.Helper()
	var out bytes.Buffer
	w := stream.NewWriter(&out)
	require.NoError(t, w.Session(t.Context(), probe.Start{Instrument: "capture", Interface: "eth7"}, probe.CaptureArgs{SnapLen: 134}, func(context.Context) (any, error) {
		for _, f := range frames {
			if err := w.Emit(probe.KindCaptureFrame, f); err != nil {
				return nil, err
			}
		}
		return probe.CaptureTotals{Frames: len(frames), KernelPackets: 9, KernelDrops: 2}, nil
	}))
	read, err := stream.Read(&out)
	require.NoError(t, err)
	return read
}

// conversation is a SYN that was repeated and its answers, one that nobody answered, and
// two datagrams from one port, each answered by another.
func conversation(t testing.TB) []probe.CaptureFrame {
	return []probe.CaptureFrame{
		frame(t, true, announcerMAC, 5001, &layers.TCP{SYN: true, Seq: 7}),
		frame(t, true, announcerMAC, 5001, &layers.TCP{SYN: true, Seq: 7}),
		frame(t, false, backendMAC, 5001, &layers.TCP{SYN: true, ACK: true, Ack: 8, Seq: 99}),
		frame(t, false, announcerMAC, 5001, &layers.TCP{SYN: true, ACK: true, Ack: 8, Seq: 99}),
		frame(t, true, announcerMAC, 5002, &layers.TCP{SYN: true, Seq: 1<<32 - 1}),
		frame(t, false, backendMAC, 5002, &layers.TCP{SYN: true, ACK: true, Ack: 0}),
		frame(t, true, announcerMAC, 5003, &layers.TCP{SYN: true, Seq: 1}),
		frame(t, false, backendMAC, 5004, &layers.TCP{SYN: true, ACK: true, Ack: 5}),
		frame(t, false, backendMAC, 5001, &layers.TCP{ACK: true, Ack: 8}),
		frame(t, true, announcerMAC, 5005, &layers.UDP{}),
		frame(t, false, announcerMAC, 5005, &layers.UDP{}),
		frame(t, true, announcerMAC, 5005, &layers.UDP{}),
		frame(t, false, backendMAC, 5005, &layers.UDP{}),
		{Data: []byte("no frame")},
	}
}

func TestPairs(t *testing.T) {
	s, err := Pairs(records(t, conversation(t)...))
	require.NoError(t, err)
	got := map[string]int{}
	for _, p := range s.Pairs {
		require.Equal(t, "10.0.0.9:80", p.Server.String())
		require.Equal(t, announcerMAC.String(), p.To)
		got[p.Protocol+" "+p.From] = p.Count
	}
	require.Equal(t, map[string]int{
		"tcp " + backendMAC.String(): 2, "tcp ": 1, "udp " + announcerMAC.String(): 1, "udp " + backendMAC.String(): 1,
	}, got)
	require.Equal(t, 3, s.Unread, "an answer to nothing, a plain ACK, and what is no frame")
	require.EqualValues(t, 2, s.KernelDrops)
	var table bytes.Buffer
	require.NoError(t, Table(&table, s))
	require.Contains(t, table.String(), "nobody")
	require.Contains(t, table.String(), "14 frames, 0 of them overwritten, 2 dropped by the kernel")
}

func TestWrite(t *testing.T) {
	frames := conversation(t)
	var file bytes.Buffer
	require.NoError(t, Write(&file, records(t, frames...)))
	r, err := pcapgo.NewNgReader(&file, pcapgo.NgReaderOptions{})
	require.NoError(t, err)
	for _, f := range frames {
		data, info, options, err := r.ReadPacketDataWithOptions()
		require.NoError(t, err)
		require.Equal(t, f.Data, data)
		require.Equal(t, max(f.Length, len(f.Data)), info.Length)
		require.Equal(t, max(f.AtNS, 0), max(info.Timestamp.UnixNano(), 0))
		want := pcapgo.NgEpbFlagDirectionInbound
		if f.Outgoing {
			want = pcapgo.NgEpbFlagDirectionOutbound
		}
		require.Equal(t, want, options.Flags.Direction)
	}
	_, _, err = r.ReadPacketData()
	require.ErrorIs(t, err, io.EOF)
	intf, err := r.Interface(0)
	require.NoError(t, err)
	require.Equal(t, "eth7", intf.Name)
	require.EqualValues(t, 2, intf.Statistics.PacketsDropped)

	require.NoError(t, Write(io.Discard, nil), "a run that was killed at once")
	require.Error(t, Write(io.Discard, []probe.Record{{Kind: probe.KindCaptureFrame, Body: []byte("1")}}))
}

// Whatever a frame holds, it is told or passed over.
func FuzzParse(f *testing.F) {
	for _, frame := range conversation(f) {
		f.Add(frame.Data, frame.Outgoing)
	}
	f.Fuzz(func(t *testing.T, data []byte, outgoing bool) {
		o, ok := parse(probe.CaptureFrame{Data: data, Outgoing: outgoing})
		if !ok {
			return
		}
		if o.protocol != "tcp" && o.protocol != "udp" || !o.client.Addr().Is4() || !o.server.Addr().Is4() {
			t.Fatalf("%+v of %x", o, data)
		}
		if _, err := net.ParseMAC(o.mac); err != nil {
			t.Fatal(err)
		}
	})
}
