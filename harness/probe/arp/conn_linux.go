// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package arp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// Packet is one frame as it was received.
type Packet struct {
	Frame      []byte // without its VLAN tag; valid until the next Receive
	ReceivedNS int64  // kernel receive timestamp, ns since the epoch, realtime
	VLAN       int    // 1..4094 when it came tagged, else 0
}

// Conn is what the instrument needs of a socket. Send and Receive may be called
// at the same time, each from one goroutine.
type Conn interface {
	Send(frame []byte) error
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
	Addresses []netip.Prefix // the interface's IPv4 addresses, as configured
}

// timestampsOn is how long the kernel is given to switch timestamps on: a work
// queue item, normally run within a millisecond.
const timestampsOn = 20 * time.Millisecond

// Open opens an AF_PACKET socket for ARP on the named interface of the calling
// thread's network namespace, with its filter in place before the first frame.
// It starts no goroutine, and the Conn may be used from any namespace. It needs
// CAP_NET_RAW.
func Open(name string) (Conn, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("open arp socket on %s: %w", name, err)
	}
	if len(ifi.HardwareAddr) != 6 {
		return nil, fmt.Errorf("open arp socket on %s: no Ethernet address", name)
	}
	local := Local{Interface: name, MAC: HardwareAddr(ifi.HardwareAddr)}
	addresses, err := ifi.Addrs()
	if err != nil {
		return nil, fmt.Errorf("open arp socket on %s: list addresses: %w", name, err)
	}
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil && prefix.Addr().Is4() {
			local.Addresses = append(local.Addresses, prefix)
		}
	}
	program, err := filter()
	if err != nil {
		return nil, err
	}
	// All protocols, narrowed by the filter: the kernel clears the VLAN tag of a
	// frame before it reaches a socket bound to ETH_P_ARP, and an answer from
	// another VLAN would look like one from our segment.
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: program})
	if err != nil {
		return nil, fmt.Errorf("open arp socket on %s: %w", name, err)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = setOptions(raw)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open arp socket on %s: %w", name, err), conn.Close())
	}
	// The kernel switches its timestamps on in the background, and until then
	// stamps a frame only when it is read.
	time.Sleep(timestampsOn)
	return &socket{conn: conn, raw: raw, local: local}, nil
}

// setOptions asks for kernel timestamps, and for the VLAN tag, which the kernel
// takes out of the frame.
func setOptions(raw syscall.RawConn) error {
	var err error
	controlErr := raw.Control(func(fd uintptr) {
		err = wrap("set SO_TIMESTAMPNS", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
		if err == nil {
			err = wrap("set PACKET_AUXDATA", unix.SetsockoptInt(int(fd), unix.SOL_PACKET, unix.PACKET_AUXDATA, 1))
		}
	})
	return errors.Join(controlErr, err)
}

func wrap(operation string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}

type socket struct {
	conn        *packet.Conn
	raw         syscall.RawConn
	local       Local
	unblockedNS atomic.Int64          // 0 before Unblock
	frame       [maxFrameLen + 1]byte // one more, so that a longer frame does not look whole
	oob         [256]byte
}

func (s *socket) Local() Local { return s.local }
func (s *socket) Close() error { return s.conn.Close() }

func (s *socket) Send(frame []byte) error {
	_, err := s.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]})
	return err
}

func (s *socket) Stats() (uint32, uint32, error) {
	stats, err := s.conn.Stats()
	if err != nil {
		return 0, 0, fmt.Errorf("read packet statistics: %w", err)
	}
	return stats.Packets, stats.Drops, nil
}

func (s *socket) Receive() (Packet, error) {
	var n, oobn int
	var from unix.Sockaddr
	var err error
	receive := func(fd uintptr) bool {
		for {
			n, oobn, _, from, err = unix.Recvmsg(int(fd), s.frame[:], s.oob[:], unix.MSG_DONTWAIT)
			// A socket for all protocols also gets what this host sends.
			if ll, ok := from.(*unix.SockaddrLinklayer); err == nil && ok && ll.Pkttype == unix.PACKET_OUTGOING {
				continue
			}
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	}
	readErr := s.raw.Read(receive)
	unblocked := s.unblockedNS.Load()
	if unblocked != 0 && errors.Is(readErr, os.ErrDeadlineExceeded) {
		// What arrived in time may still be queued, if we were slow to read it.
		readErr = s.raw.Control(func(fd uintptr) { receive(fd) })
		if errors.Is(err, unix.EAGAIN) {
			return Packet{}, os.ErrDeadlineExceeded
		}
	}
	if err := errors.Join(readErr, err); err != nil {
		return Packet{}, fmt.Errorf("receive: %w", err)
	}
	p := Packet{Frame: s.frame[:n]}
	if err := p.control(s.oob[:oobn]); err != nil {
		return Packet{}, err
	}
	if unblocked != 0 && p.ReceivedNS > unblocked {
		return Packet{}, os.ErrDeadlineExceeded // or a flood would keep us here for ever
	}
	return p, nil
}

func (s *socket) Unblock() error {
	s.unblockedNS.Store(time.Now().UnixNano())
	return s.conn.SetReadDeadline(time.Unix(1, 0))
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
			p.ReceivedNS = int64(ne.Uint64(m.Data))*int64(time.Second) + int64(ne.Uint64(m.Data[8:]))
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
