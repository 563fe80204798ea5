// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ether

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// timestampsOn is how long the kernel is given to switch timestamps on: a work
// queue item, normally run within a millisecond.
const timestampsOn = 20 * time.Millisecond

// receiveBuffer is asked for in bytes: a thousand hosts that answer at once must not
// be dropped while one answer is written. The kernel grants up to net.core.rmem_max.
const receiveBuffer = 4 << 20

// Open opens an AF_PACKET socket on the named interface of the calling thread's
// network namespace, with its filter in place before the first frame. purpose says
// what for, in errors. It starts no goroutine, and the Conn may be used from any
// namespace. It needs CAP_NET_RAW.
func Open(purpose, name string, program []bpf.RawInstruction, groups ...HardwareAddr) (Conn, error) {
	fail := func(err error) (Conn, error) {
		return nil, fmt.Errorf("open %s socket on %s: %w", purpose, name, err)
	}
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return fail(err)
	}
	if len(ifi.HardwareAddr) != 6 {
		return fail(errors.New("no Ethernet address"))
	}
	local := Local{Interface: name, MAC: HardwareAddr(ifi.HardwareAddr)}
	addresses, err := ifi.Addrs()
	if err != nil {
		return fail(fmt.Errorf("list addresses: %w", err))
	}
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			local.Addresses = append(local.Addresses, prefix)
		}
	}
	// All protocols, narrowed by the filter: the kernel clears the VLAN tag of a
	// frame before it reaches a socket bound to one protocol, and an answer from
	// another VLAN would look like one from our segment.
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: program})
	if err != nil {
		return fail(err)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = setOptions(raw)
	}
	for _, group := range groups {
		if err == nil {
			err = join(raw, ifi.Index, group)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s socket on %s: %w", purpose, name, err), conn.Close())
	}
	// The kernel switches its timestamps on in the background, and until then
	// stamps a frame only when it is read.
	time.Sleep(timestampsOn)
	return &socket{conn: conn, raw: raw, local: local}, nil
}

// join makes the interface accept frames for a multicast address.
func join(raw syscall.RawConn, index int, group HardwareAddr) error {
	var err error
	controlErr := raw.Control(func(fd uintptr) {
		mreq := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_MULTICAST, Alen: 6}
		copy(mreq.Address[:], group[:])
		err = wrap("join "+group.String(), unix.SetsockoptPacketMreq(int(fd), unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq))
	})
	return errors.Join(controlErr, err)
}

// setOptions asks for kernel timestamps of both directions, and for the VLAN tag,
// which the kernel takes out of the frame.
func setOptions(raw syscall.RawConn) error {
	// TX_SOFTWARE: stamped by the driver when it takes the frame. OPT_ID numbers the
	// frames, OPT_TSONLY keeps the frame itself out of the error queue.
	const sent = unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_OPT_ID | unix.SOF_TIMESTAMPING_OPT_TSONLY
	var err error
	controlErr := raw.Control(func(fd uintptr) {
		for _, option := range []struct {
			name                string
			level, which, value int
		}{
			{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer},
			{"SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
			{"SO_TIMESTAMPING", unix.SOL_SOCKET, unix.SO_TIMESTAMPING, sent},
			{"PACKET_AUXDATA", unix.SOL_PACKET, unix.PACKET_AUXDATA, 1},
		} {
			if err = wrap("set "+option.name, unix.SetsockoptInt(int(fd), option.level, option.which, option.value)); err != nil {
				return
			}
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
	unblockedNS atomic.Int64 // 0 before Unblock
	sends       uint32       // frames that the kernel numbered
	sentNS      int64
	frame       [MaxFrameLen + 1]byte // one more, so that a longer frame does not look whole
	oob         [256]byte
}

func (s *socket) Local() Local  { return s.local }
func (s *socket) Close() error  { return s.conn.Close() }
func (s *socket) SentNS() int64 { return s.sentNS }

func (s *socket) Send(frame []byte) error {
	s.sentNS = 0
	if _, err := s.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
		return err
	}
	number := s.sends
	s.sends++
	return s.readSent(number)
}

// readSent takes the kernel's time of one sent frame from the error queue. Drivers that
// stamp do so before the send call returns, unless frames queue up before them; a
// stamp that comes later than this is left unread until the next send, which skips it.
func (s *socket) readSent(number uint32) error {
	var oob [256]byte
	for {
		var oobn int
		var err error
		controlErr := s.raw.Control(func(fd uintptr) {
			_, oobn, _, _, err = unix.Recvmsg(int(fd), nil, oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		})
		switch {
		case errors.Is(err, unix.EAGAIN):
			return controlErr
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || controlErr != nil:
			return fmt.Errorf("read send timestamp: %w", errors.Join(controlErr, err))
		}
		stamp, err := parseSent(oob[:oobn])
		if err != nil {
			return fmt.Errorf("read send timestamp: %w", err)
		}
		if stamp.number == number {
			s.sentNS = stamp.ns
		} else if stamp.number > number {
			s.sends = stamp.number + 1 // a failed send was numbered, too
		}
	}
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
