// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package ndp asks a segment who has an IPv6 address, and records everyone who
// answers: what package arp is to IPv4.
package ndp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
)

// The ICMPv6 types of neighbour discovery (RFC 4861 4.3, 4.4).
const (
	TypeSolicitation  uint8 = 135
	TypeAdvertisement uint8 = 136
)

const (
	etherTypeIPv6 = 0x86dd
	icmpv6        = 58  // next header
	hopLimit      = 255 // RFC 4861 7.1: what came through a router has less
	ipAt          = ether.HeaderLen
	icmpAt        = ipAt + 40
	targetAt      = icmpAt + 8
	optionsAt     = targetAt + 16
	optionLen     = 8 // of a link-layer address option for Ethernet
	optionSource  = 1
	optionTarget  = 2

	flagRouter, flagSolicited, flagOverride = 0x80, 0x40, 0x20
)

// ErrMalformed is wrapped by every error of Parse.
var ErrMalformed = errors.New("malformed neighbour discovery frame")

// Frame is one neighbour solicitation or advertisement in its Ethernet frame.
type Frame struct {
	EthernetDestination         ether.HardwareAddr
	EthernetSource              ether.HardwareAddr
	Source, Destination         netip.Addr
	Type                        uint8 // TypeSolicitation or TypeAdvertisement
	Router, Solicited, Override bool  // of an advertisement
	Target                      netip.Addr
	LinkAddress                 ether.HardwareAddr // source (solicitation) or target (advertisement) link-layer address option
	HasLinkAddress              bool
}

// SolicitedNode is the multicast address that a host listens at for questions about
// its address (RFC 4291 2.7.1), and the Ethernet address that goes with it (RFC 2464 7).
func SolicitedNode(target netip.Addr) (netip.Addr, ether.HardwareAddr) {
	a := target.As16()
	return netip.AddrFrom16([16]byte{0xff, 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]}),
		ether.HardwareAddr{0x33, 0x33, 0xff, a[13], a[14], a[15]}
}

// AllNodes is the Ethernet address of ff02::1, where unsolicited advertisements go.
func AllNodes() ether.HardwareAddr { return ether.HardwareAddr{0x33, 0x33, 0, 0, 0, 1} }

// Parse reads an untagged Ethernet frame. It refuses what a host must silently discard
// (RFC 4861 7.1.1, 7.1.2): another hop limit than 255, a wrong checksum, a code, a
// multicast target, an option of length 0, a solicited advertisement to a multicast
// address. It also refuses extension headers, which neighbour discovery has no use for.
// Every error wraps ErrMalformed.
func Parse(b []byte) (Frame, error) {
	malformed := func(format string, args ...any) (Frame, error) {
		return Frame{}, fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
	if len(b) < optionsAt || len(b) > ether.MaxFrameLen {
		return malformed("%d bytes", len(b))
	}
	be := binary.BigEndian
	ip := b[ipAt:]
	payload := int(be.Uint16(ip[4:]))
	switch {
	case be.Uint16(b[12:]) != etherTypeIPv6 || ip[0]>>4 != 6:
		return malformed("ethertype %#04x, version %d", be.Uint16(b[12:]), ip[0]>>4)
	case ip[6] != icmpv6 || ip[7] != hopLimit:
		return malformed("next header %d, hop limit %d", ip[6], ip[7])
	case payload < optionsAt-icmpAt || icmpAt+payload > len(b):
		return malformed("payload of %d bytes in a frame of %d", payload, len(b))
	}
	b = b[:icmpAt+payload] // Ethernet padding is no part of it
	f := Frame{
		EthernetDestination: ether.HardwareAddr(b[0:6]), EthernetSource: ether.HardwareAddr(b[6:12]),
		Source: netip.AddrFrom16([16]byte(ip[8:24])), Destination: netip.AddrFrom16([16]byte(ip[24:40])),
		Type: b[icmpAt], Target: netip.AddrFrom16([16]byte(b[targetAt:optionsAt])),
	}
	switch {
	case f.Type != TypeSolicitation && f.Type != TypeAdvertisement || b[icmpAt+1] != 0:
		return malformed("type %d, code %d", f.Type, b[icmpAt+1])
	case checksum(b) != 0:
		return malformed("wrong checksum")
	case f.Target.IsMulticast():
		return malformed("target %s", f.Target)
	}
	if f.Type == TypeAdvertisement {
		flags := b[icmpAt+4]
		f.Router, f.Solicited, f.Override = flags&flagRouter != 0, flags&flagSolicited != 0, flags&flagOverride != 0
		if f.Solicited && f.Destination.IsMulticast() {
			return malformed("solicited, to %s", f.Destination)
		}
	}
	if err := f.options(b[optionsAt:]); err != nil {
		return Frame{}, err
	}
	return f, nil
}

// options reads the link-layer address; the first counts, other options are skipped.
func (f *Frame) options(b []byte) error {
	want := byte(optionTarget)
	if f.Type == TypeSolicitation {
		want = optionSource
	}
	for len(b) > 0 {
		if len(b) < optionLen || b[1] == 0 || int(b[1])*8 > len(b) {
			return fmt.Errorf("%w: option", ErrMalformed)
		}
		if b[0] == want && b[1] == 1 && !f.HasLinkAddress {
			f.LinkAddress, f.HasLinkAddress = ether.HardwareAddr(b[2:optionLen]), true
		}
		b = b[int(b[1])*8:]
	}
	return nil
}

// Bytes is the frame as it goes onto the wire.
func (f Frame) Bytes() []byte {
	n := optionsAt
	if f.HasLinkAddress {
		n += optionLen
	}
	b := make([]byte, n)
	be := binary.BigEndian
	copy(b, f.EthernetDestination[:])
	copy(b[6:], f.EthernetSource[:])
	be.PutUint16(b[12:], etherTypeIPv6)
	ip := b[ipAt:]
	ip[0] = 6 << 4
	be.PutUint16(ip[4:], uint16(n-icmpAt))
	ip[6], ip[7] = icmpv6, hopLimit
	source, destination, target := f.Source.As16(), f.Destination.As16(), f.Target.As16()
	copy(ip[8:], source[:])
	copy(ip[24:], destination[:])
	b[icmpAt] = f.Type
	copy(b[targetAt:], target[:])
	option := byte(optionSource)
	if f.Type == TypeAdvertisement {
		option = optionTarget
		for flag, set := range map[byte]bool{flagRouter: f.Router, flagSolicited: f.Solicited, flagOverride: f.Override} {
			if set {
				b[icmpAt+4] |= flag
			}
		}
	}
	if f.HasLinkAddress {
		b[optionsAt], b[optionsAt+1] = option, 1
		copy(b[optionsAt+2:], f.LinkAddress[:])
	}
	be.PutUint16(b[icmpAt+2:], checksum(b))
	return b
}

// checksum is that of ICMPv6 (RFC 4443 2.3): of the pseudo header and the message. Of
// a message that carries its own it is 0.
func checksum(b []byte) uint16 {
	be := binary.BigEndian
	sum := uint32(len(b)-icmpAt) + icmpv6
	for part := b[ipAt+8:]; len(part) > 0; part = part[min(2, len(part)):] {
		if len(part) == 1 {
			sum += uint32(part[0]) << 8
		} else {
			sum += uint32(be.Uint16(part))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
