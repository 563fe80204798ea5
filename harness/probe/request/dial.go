// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package request

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dialer connects from source, if that is valid, with one attempt a request.
func Dialer(source netip.Addr) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		d := net.Dialer{KeepAlive: -1, FallbackDelay: -1} // one attempt a request: no second address family raced beside it
		if source.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
			if strings.HasPrefix(network, "udp") {
				d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
			}
			d.Control = bindWithoutPort
		}
		return d.DialContext(ctx, network, address)
	}
}

// bindWithoutPort leaves the choice of the source port to connect, which may
// then use a port once for each destination instead of once for all.
func bindWithoutPort(_, _ string, raw syscall.RawConn) error {
	var err error
	controlErr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(controlErr, err)
}

// resetOnClose makes Close send a RST and skip TIME_WAIT, which at thousands of
// requests a second would use up the ports to one destination within seconds.
// The answer was read by then, so that nothing is cut off.
func resetOnClose(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only on a dead connection, which needs none
	}
}
