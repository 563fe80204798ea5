// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ether

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// message is a control message as the kernel writes it.
func message(level, kind int, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	ne := binary.NativeEndian
	ne.PutUint64(b, uint64(unix.CmsgLen(len(data))))
	ne.PutUint32(b[8:], uint32(level))
	ne.PutUint32(b[12:], uint32(kind))
	copy(b[16:], data)
	return b
}

func timespecBytes(seconds, ns uint64) []byte {
	return binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, seconds), ns)
}

func auxdata(status uint32, tci uint16) []byte {
	b := make([]byte, 20)
	binary.NativeEndian.PutUint32(b, status)
	binary.NativeEndian.PutUint16(b[16:], tci)
	return b
}

func extendedError(number uint32) []byte {
	b := make([]byte, 16)
	binary.NativeEndian.PutUint32(b[12:], number)
	return b
}

func TestReceivedFramesCarryTimeAndVLAN(t *testing.T) {
	stamp := message(unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS, timespecBytes(5, 7))
	for _, test := range []struct {
		name string
		oob  []byte
		want Packet
		err  string
	}{
		{"time only", stamp, Packet{ReceivedNS: 5e9 + 7}, ""},
		{"tagged", append(stamp, message(unix.SOL_PACKET, unix.PACKET_AUXDATA, auxdata(unix.TP_STATUS_VLAN_VALID, 0x202a))...), Packet{ReceivedNS: 5e9 + 7, VLAN: 42}, ""},
		{"a tag that is not valid", append(stamp, message(unix.SOL_PACKET, unix.PACKET_AUXDATA, auxdata(0, 42))...), Packet{ReceivedNS: 5e9 + 7}, ""},
		{"no time", message(unix.SOL_PACKET, unix.PACKET_AUXDATA, auxdata(0, 0)), Packet{}, "no kernel timestamp"},
		{"cut off", stamp[:20], Packet{}, "control message"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var p Packet
			err := p.control(test.oob)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, p)
		})
	}
}

func TestSentFramesCarryTimeAndNumber(t *testing.T) {
	// SCM_TIMESTAMPING has three timespecs: software, one that is not used, hardware.
	times := message(unix.SOL_SOCKET, unix.SCM_TIMESTAMPING, append(timespecBytes(5, 7), make([]byte, 32)...))
	number := message(unix.SOL_PACKET, unix.PACKET_TX_TIMESTAMP, extendedError(9))
	got, err := parseSent(append(times, number...))
	require.NoError(t, err)
	require.Equal(t, sentStamp{number: 9, ns: 5e9 + 7}, got)
	for _, bad := range [][]byte{nil, times, number, times[:20]} {
		_, err := parseSent(bad)
		require.Error(t, err)
	}
}

func TestAddresses(t *testing.T) {
	require.Equal(t, "ff:ff:ff:ff:ff:ff", Broadcast().String())
	require.True(t, Broadcast().Group())
	require.False(t, HardwareAddr{2}.Group())
}

// Whatever the kernel says beside a frame, nothing must end the instrument but an error.
func FuzzControl(f *testing.F) {
	f.Add(message(unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS, timespecBytes(5, 7)))
	f.Add(message(unix.SOL_PACKET, unix.PACKET_AUXDATA, auxdata(unix.TP_STATUS_VLAN_VALID, 42)))
	f.Add(message(unix.SOL_PACKET, unix.PACKET_TX_TIMESTAMP, extendedError(9)))
	f.Fuzz(func(t *testing.T, oob []byte) {
		var p Packet
		if err := p.control(oob); err == nil {
			require.NotZero(t, p.ReceivedNS)
			require.True(t, p.VLAN >= 0 && p.VLAN < 4096)
		}
		if stamp, err := parseSent(oob); err == nil {
			require.NotZero(t, stamp.ns)
		}
	})
}
