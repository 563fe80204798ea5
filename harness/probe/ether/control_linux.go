// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ether

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// timespec reads the kernel's struct timespec.
func timespec(b []byte) int64 {
	ne := binary.NativeEndian
	return int64(ne.Uint64(b))*int64(time.Second) + int64(ne.Uint64(b[8:]))
}

// control reads what the kernel says beside the frame. A frame without a kernel
// timestamp is an error: the time of our own read is not when it arrived.
func (p *Packet) control(oob []byte) error {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("receive: parse control message: %w", err)
	}
	ne := binary.NativeEndian
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16:
			p.ReceivedNS = timespec(m.Data)
		case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 20:
			// struct tpacket_auxdata: status at 0, vlan_tci at 16; the low 12 bits are the VLAN id.
			if ne.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0 {
				p.VLAN = int(ne.Uint16(m.Data[16:]) & 0x0fff)
			}
		}
	}
	if p.ReceivedNS == 0 {
		return errors.New("receive: no kernel timestamp")
	}
	return nil
}

// sentStamp is when the kernel sent the frame of a number.
type sentStamp struct {
	number uint32
	ns     int64
}

// parseSent reads one message of the error queue: SCM_TIMESTAMPING, whose first
// timespec is the software one, and a struct sock_extended_err whose ee_data (at 12)
// is the frame's number (kernel Documentation/networking/timestamping.rst, 1.3.4).
func parseSent(oob []byte) (sentStamp, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return sentStamp{}, fmt.Errorf("parse control message: %w", err)
	}
	var stamp sentStamp
	numbered := false
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPING && len(m.Data) >= 16:
			stamp.ns = timespec(m.Data)
		case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_TX_TIMESTAMP && len(m.Data) >= 16:
			stamp.number = binary.NativeEndian.Uint32(m.Data[12:])
			numbered = true
		}
	}
	if stamp.ns == 0 || !numbered {
		return sentStamp{}, errors.New("no time or no number")
	}
	return stamp, nil
}
