// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/serve"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// backend runs the real backend on loopback and returns its addresses.
func backend(t *testing.T, pod string) (httpAddress, tcpAddress, udpAddress string) {
	t.Helper()
	c, err := serve.Listen(t.Context(), "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0")
	require.NoError(t, err)
	c.Pod, c.Node = pod, "node-of-"+pod
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve.Run(ctx, c, stream.NewWriter(io.Discard)) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
	})
	return c.HTTP.Addr().String(), c.TCP.Addr().String(), c.UDP.LocalAddr().String()
}

func TestModesOnLoopback(t *testing.T) {
	httpA, tcpA, udpA := backend(t, "a")
	httpB, tcpB, udpB := backend(t, "b")
	for _, test := range []struct{ mode, a, b, protocol string }{
		{probe.ModeHTTPNew, httpA, httpB, "http"},
		{probe.ModeHTTPKeepalive, httpA, httpB, "http"},
		{probe.ModeTCPConnect, tcpA, tcpB, ""},
		{probe.ModeUDPEcho, udpA, udpB, "udp"},
	} {
		t.Run(test.mode, func(t *testing.T) {
			r, err := runLoad(t.Context(), t, Config{
				Mode: test.mode, Rate: 400, Count: 100, Warmup: 10, Timeout: 20 * time.Second, Payload: 4000,
				Targets: []probe.LoadTarget{{Name: "vip", Address: test.a}, {Name: "nodeport", Address: test.b}},
				Source:  netip.MustParseAddr("127.0.0.1"),
			})
			require.NoError(t, err)
			require.Equal(t, probe.ReasonDone, r.end.Reason)
			require.Empty(t, r.errors)
			require.EqualValues(t, 100, r.totals.OK)
			require.EqualValues(t, 10, r.totals.WarmupExcluded)
			require.EqualValues(t, 50, r.totals.Targets["nodeport"].Scheduled, "the targets take turns")
			h := r.histograms["vip/service"]
			require.EqualValues(t, 45, h.Count)
			require.Positive(t, h.Min)
			require.LessOrEqual(t, h.P50, h.P99)
			require.LessOrEqual(t, h.P99, h.Max)
			require.LessOrEqual(t, h.Max, r.histograms["vip/response"].Max)
			if test.protocol == "" {
				require.Empty(t, r.peers["vip"].Backends)
				return
			}
			require.Equal(t, map[string]probe.BackendCount{"a": {
				Pod: "a", Node: "node-of-a", Protocol: test.protocol, Responses: 50, Peers: map[string]int{"127.0.0.1": 50},
			}}, r.peers["vip"].Backends)
		})
	}
}

func TestKeepaliveKeepsConnections(t *testing.T) {
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(identify))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	target := []probe.LoadTarget{{Name: "vip", Address: server.Listener.Addr().String()}}
	_, err := runLoad(t.Context(), t, Config{Mode: probe.ModeHTTPKeepalive, Targets: target, Rate: 1000, Count: 50, MaxInFlight: 1, Timeout: 20 * time.Second})
	require.NoError(t, err)
	require.EqualValues(t, 1, connections.Load(), "one at a time needs one connection")
}

func identify(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, `{"pod":"p","peer":%q}`, r.RemoteAddr)
}

// A reset of a kept-alive connection must be seen: net/http's client would retry it.
func TestKeepaliveDoesNotHideAReset(t *testing.T) {
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 3 {
			panic(http.ErrAbortHandler)
		}
		identify(w, r)
	}))
	defer server.Close()
	target := []probe.LoadTarget{{Name: "vip", Address: server.Listener.Addr().String()}}
	r, err := runLoad(t.Context(), t, Config{Mode: probe.ModeHTTPKeepalive, Targets: target, Rate: 50, Count: 5, MaxInFlight: 1, Timeout: 20 * time.Second})
	require.NoError(t, err)
	require.Len(t, r.errors, 1)
	require.Equal(t, probe.ErrorReset, r.errors[0].ErrorKind)
	require.NotEmpty(t, r.errors[0].Local)
}

// listen runs handle for each connection to a loopback port.
func listen(t *testing.T, handle func(*net.TCPConn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go handle(conn.(*net.TCPConn))
		}
	}()
	return listener.Addr().String()
}

func TestErrorKindsOnLoopback(t *testing.T) {
	answer := func(text string) string {
		return listen(t, func(conn *net.TCPConn) {
			_, _ = conn.Read(make([]byte, 1024))
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		})
	}
	silentUDP, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silentUDP.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	for _, test := range []struct{ name, mode, address, kind string }{
		{"refused", probe.ModeTCPConnect, closed.Addr().String(), probe.ErrorRefused},
		{"refused by icmp", probe.ModeUDPEcho, closed.Addr().String(), probe.ErrorRefused},
		{"timeout", probe.ModeHTTPNew, listen(t, func(conn *net.TCPConn) { _, _ = io.Copy(io.Discard, conn) }), probe.ErrorTimeout},
		{"udp timeout", probe.ModeUDPEcho, silentUDP.LocalAddr().String(), probe.ErrorTimeout},
		{"reset", probe.ModeHTTPNew, listen(t, func(conn *net.TCPConn) {
			_, _ = conn.Read(make([]byte, 1024))
			_ = conn.SetLinger(0)
			_ = conn.Close()
		}), probe.ErrorReset},
		{"closed early", probe.ModeHTTPKeepalive, answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"), probe.ErrorReset},
		{"no http", probe.ModeHTTPNew, answer("SSH-2.0-other\r\n\r\n"), probe.ErrorBadResponse},
		{"status", probe.ModeHTTPNew, answer("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), probe.ErrorBadResponse},
		{"no identity", probe.ModeHTTPNew, answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), probe.ErrorBadResponse},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := runLoad(t.Context(), t, Config{
				Mode: test.mode, Targets: []probe.LoadTarget{{Name: "vip", Address: test.address}}, Rate: 100, Count: 3, Timeout: 500 * time.Millisecond,
			})
			require.NoError(t, err)
			require.Len(t, r.errors, 3)
			require.Equal(t, map[string]int64{test.kind: 3}, r.totals.ErrorKinds, r.errors[0].Message)
			require.Equal(t, test.address, r.errors[0].Peer)
			require.Greater(t, r.errors[0].EndNS, r.errors[0].DueNS)
		})
	}
}

func TestClassify(t *testing.T) {
	wrap := func(errno syscall.Errno) error {
		return fmt.Errorf("x: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", errno)})
	}
	for kind, errs := range map[string][]error{
		probe.ErrorUnreachable: {wrap(syscall.EHOSTUNREACH), wrap(syscall.ENETUNREACH), wrap(syscall.EHOSTDOWN), wrap(syscall.ENETDOWN)},
		probe.ErrorTimeout:     {wrap(syscall.ETIMEDOUT), context.DeadlineExceeded, os.ErrDeadlineExceeded},
		probe.ErrorReset:       {wrap(syscall.ECONNRESET), wrap(syscall.EPIPE), io.ErrUnexpectedEOF, io.EOF},
		probe.ErrorRefused:     {wrap(syscall.ECONNREFUSED)},
		probe.ErrorBadResponse: {fmt.Errorf("x: %w: %w", errBadResponse, io.EOF)},
		probe.ErrorOther:       {wrap(syscall.EADDRNOTAVAIL), io.ErrClosedPipe},
	} {
		for _, err := range errs {
			require.Equal(t, kind, Classify(err), "%v", err)
		}
	}
}
