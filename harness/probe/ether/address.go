// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package ether is what the instruments of the segment share: hardware addresses,
// and a packet socket that gives each frame with the kernel's time and VLAN tag.
package ether

import "net"

// The parts of an Ethernet II frame, in bytes.
const (
	HeaderLen   = 14   // without a VLAN tag: the kernel strips that
	MinFrameLen = 60   // IEEE 802.3 minimum without the frame check sequence
	MaxFrameLen = 1514 // without a VLAN tag, at an MTU of 1500
)

// HardwareAddr is an EUI-48. A fixed array: comparable, and nothing to copy.
type HardwareAddr [6]byte

// Broadcast is the Ethernet broadcast address.
func Broadcast() HardwareAddr { return HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }

// String is lower case with colons, as the kernel and the wire types have it.
func (h HardwareAddr) String() string { return net.HardwareAddr(h[:]).String() }

// Group says that the address is a multicast or broadcast one (IEEE 802, the I/G bit).
func (h HardwareAddr) Group() bool { return h[0]&1 != 0 }
