// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package capture records the frames by which a host talks to some addresses: which
// hardware address it sends to, and which one answers.
package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// SnapLen is how much of a frame is kept, in bytes: Ethernet, and IPv4 and TCP with
// all the options they can have.
const SnapLen = 14 + 60 + 60

// Config is one capture.
type Config struct {
	Interface string
	Addresses []netip.Addr // IPv4; 1 to 32
	MaxBytes  int          // of frames that are kept: the first half as they come, the newest of the rest; 8 MiB
}

const defaultMaxBytes = 8 << 20

// Run records until its stdin ends (see stream.Lifetime), which is what its work is
// over with; any other end cuts it short. It needs CAP_NET_RAW.
func Run(ctx context.Context, c Config, w *stream.Writer) error {
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMaxBytes
	}
	start := probe.Start{Instrument: "capture", Interface: c.Interface}
	args := probe.CaptureArgs{Addresses: c.Addresses, SnapLen: SnapLen, MaxBytes: c.MaxBytes}
	conn, err := open(c, &start)
	if err == nil {
		defer func() { _ = conn.Close() }()
	}
	return w.Session(ctx, start, args, func(ctx context.Context) (any, error) {
		if err != nil {
			return nil, err
		}
		return record(ctx, conn, c.MaxBytes, w)
	})
}

func open(c Config, start *probe.Start) (*packet.Conn, error) {
	if c.MaxBytes < 2*SnapLen {
		return nil, fmt.Errorf("open capture on %s: keep at least two frames, %d bytes", c.Interface, 2*SnapLen)
	}
	ifi, err := net.InterfaceByName(c.Interface)
	if err != nil {
		return nil, fmt.Errorf("open capture on %s: %w", c.Interface, err)
	}
	start.MAC = ifi.HardwareAddr.String()
	program, err := filter(c.Addresses)
	if err != nil {
		return nil, err
	}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: program})
	if err != nil {
		return nil, fmt.Errorf("open capture on %s: %w", c.Interface, err)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		controlErr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		})
		err = errors.Join(err, controlErr)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open capture on %s: ask for timestamps: %w", c.Interface, err), conn.Close())
	}
	return conn, nil
}

// record reads frames until the context ends, and then what is still queued.
func record(ctx context.Context, conn *packet.Conn, maxBytes int, w *stream.Writer) (any, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var totals probe.CaptureTotals
	kept := newRing(maxBytes, func(f probe.CaptureFrame) error { return w.Emit(probe.KindCaptureFrame, f) })
	for {
		frame, err := receive(raw, ctx.Err() != nil)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if ctx.Err() == nil {
				return totals, err
			}
			continue // once more without waiting: what arrived in time is still queued
		}
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			return totals, fmt.Errorf("capture: receive: %w", err)
		}
		totals.Frames++
		if err := kept.add(frame); err != nil {
			return totals, err
		}
	}
	if err := kept.flush(); err != nil {
		return totals, err
	}
	totals.Overwritten = kept.overwritten
	stats, err := conn.Stats()
	if err != nil {
		return totals, fmt.Errorf("capture: read packet statistics: %w", err)
	}
	totals.KernelPackets, totals.KernelDrops = stats.Packets, stats.Drops
	if cause := context.Cause(ctx); !errors.Is(cause, stream.ErrStdinClosed) {
		return totals, cause
	}
	return totals, nil
}

// receive reads one frame; without patience it gives EAGAIN when none is queued.
func receive(raw syscall.RawConn, impatient bool) (probe.CaptureFrame, error) {
	var buf [SnapLen]byte
	var oob [128]byte
	var n, oobn int
	var from unix.Sockaddr
	var err error
	read := func(fd uintptr) bool {
		for {
			// MSG_TRUNC: n is the frame's whole length.
			n, oobn, _, from, err = unix.Recvmsg(int(fd), buf[:], oob[:], unix.MSG_DONTWAIT|unix.MSG_TRUNC)
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	}
	var readErr error
	if impatient {
		readErr = raw.Control(func(fd uintptr) { read(fd) })
	} else {
		readErr = raw.Read(read)
	}
	if readErr != nil {
		return probe.CaptureFrame{}, readErr
	}
	if err != nil {
		return probe.CaptureFrame{}, err
	}
	ll, _ := from.(*unix.SockaddrLinklayer)
	return probe.CaptureFrame{
		AtNS: timestamp(oob[:oobn]), Outgoing: ll != nil && ll.Pkttype == unix.PACKET_OUTGOING,
		Length: n, Data: append([]byte{}, buf[:min(n, SnapLen)]...),
	}, nil
}

// timestamp is the kernel's, or our own where it has none yet: it switches them on in
// the background.
func timestamp(oob []byte) int64 {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now().UnixNano()
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			ne := binary.NativeEndian
			return int64(ne.Uint64(m.Data))*int64(time.Second) + int64(ne.Uint64(m.Data[8:]))
		}
	}
	return time.Now().UnixNano()
}
