// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ether

import "net/netip"

// Packet is one frame as it was received.
type Packet struct {
	Frame      []byte // without its VLAN tag; valid until the next Receive
	ReceivedNS int64  // kernel receive timestamp, ns since the epoch, realtime
	VLAN       int    // 1..4094 when it came tagged, else 0
}

// Conn is what an instrument needs of a socket. Send and Receive may be called
// at the same time, each from one goroutine.
type Conn interface {
	Send(frame []byte) error
	SentNS() int64            // the kernel's time of the last Send, ns since the epoch, when the driver took the frame; 0 where it gives none
	Receive() (Packet, error) // blocks until a frame or Unblock; then os.ErrDeadlineExceeded
	Unblock() error
	Stats() (packets, drops uint32, err error) // since the socket was opened, or the last call
	Close() error
	Local() Local
}

// Local is where a Conn is.
type Local struct {
	Interface string
	MAC       HardwareAddr
	Addresses []netip.Prefix // the interface's, of both families, as configured
}
