// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package arp asks a segment who has an address, and records everyone who
// answers. It neither reads nor fills the kernel's neighbour cache, which keeps
// one answer and so hides a second responder.
package arp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
)

// The two operations of RFC 826.
const (
	OpRequest uint16 = 1
	OpReply   uint16 = 2
)

const (
	etherTypeARP  = 0x0806
	etherTypeIPv4 = 0x0800
	hardwareEther = 1
	headerLen     = ether.HeaderLen
	packetLen     = 28             // ARP for IPv4 over Ethernet
	senderHWAt    = headerLen + 8  // sender hardware address
	senderIPAt    = headerLen + 14 // sender protocol address
	targetHWAt    = headerLen + 18 // target hardware address
	targetIPAt    = headerLen + 24 // target protocol address
	frameEnd      = headerLen + packetLen
)

// ErrMalformed is wrapped by every error of Parse.
var ErrMalformed = errors.New("malformed ARP frame")

// HardwareAddr is an EUI-48.
type HardwareAddr = ether.HardwareAddr

// Broadcast is the Ethernet broadcast address.
func Broadcast() HardwareAddr { return ether.Broadcast() }

// Frame is one ARP packet for IPv4 in its Ethernet frame (RFC 826).
type Frame struct {
	EthernetDestination HardwareAddr
	EthernetSource      HardwareAddr
	Op                  uint16 // OpRequest or OpReply
	SenderMAC           HardwareAddr
	SenderIP            netip.Addr // 0.0.0.0 in a probe (RFC 5227 1.1)
	TargetMAC           HardwareAddr
	TargetIP            netip.Addr
}

// Parse reads an untagged Ethernet frame. It is strict: hardware type Ethernet,
// protocol IPv4, their address lengths, and operation 1 or 2, or the error wraps
// ErrMalformed. Padding is ignored: RFC 826 does not say what it holds.
func Parse(b []byte) (Frame, error) {
	if len(b) < frameEnd || len(b) > ether.MaxFrameLen {
		return Frame{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	be := binary.BigEndian
	if etherType := be.Uint16(b[12:]); etherType != etherTypeARP {
		return Frame{}, fmt.Errorf("%w: ethertype %#04x", ErrMalformed, etherType)
	}
	p := b[headerLen:]
	if hardware, protocol := be.Uint16(p), be.Uint16(p[2:]); hardware != hardwareEther || protocol != etherTypeIPv4 {
		return Frame{}, fmt.Errorf("%w: hardware type %d, protocol %#04x", ErrMalformed, hardware, protocol)
	}
	if p[4] != 6 || p[5] != 4 {
		return Frame{}, fmt.Errorf("%w: address lengths %d and %d", ErrMalformed, p[4], p[5])
	}
	op := be.Uint16(p[6:])
	if op != OpRequest && op != OpReply {
		return Frame{}, fmt.Errorf("%w: operation %d", ErrMalformed, op)
	}
	return Frame{
		EthernetDestination: HardwareAddr(b[0:6]),
		EthernetSource:      HardwareAddr(b[6:12]),
		Op:                  op,
		SenderMAC:           HardwareAddr(b[senderHWAt:senderIPAt]),
		SenderIP:            netip.AddrFrom4([4]byte(b[senderIPAt:targetHWAt])),
		TargetMAC:           HardwareAddr(b[targetHWAt:targetIPAt]),
		TargetIP:            netip.AddrFrom4([4]byte(b[targetIPAt:frameEnd])),
	}, nil
}

// Bytes is the frame as it goes onto the wire, padded with zeros to the 60 bytes
// of a minimal Ethernet frame. It panics when an address is not IPv4.
func (f Frame) Bytes() []byte {
	b := make([]byte, ether.MinFrameLen)
	be := binary.BigEndian
	copy(b, f.EthernetDestination[:])
	copy(b[6:], f.EthernetSource[:])
	be.PutUint16(b[12:], etherTypeARP)
	be.PutUint16(b[headerLen:], hardwareEther)
	be.PutUint16(b[headerLen+2:], etherTypeIPv4)
	b[headerLen+4], b[headerLen+5] = 6, 4
	be.PutUint16(b[headerLen+6:], f.Op)
	sender, target := f.SenderIP.As4(), f.TargetIP.As4()
	copy(b[senderHWAt:], f.SenderMAC[:])
	copy(b[senderIPAt:], sender[:])
	copy(b[targetHWAt:], f.TargetMAC[:])
	copy(b[targetIPAt:], target[:])
	return b
}

// Gratuitous tells whether the frame announces its sender instead of asking or
// answering: a request whose sender and target address are equal, or a reply
// that is broadcast or has them equal. A broadcast reply may also be the answer to
// somebody: whoever asked must look at TargetMAC first.
func (f Frame) Gratuitous() bool {
	return f.SenderIP == f.TargetIP || f.Op == OpReply && f.EthernetDestination == Broadcast()
}
