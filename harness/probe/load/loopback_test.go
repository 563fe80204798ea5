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
	"strconv"
	"strings"
	"sync/atomic"
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

// A body of a size of our choice, and the refusal of another size.
func TestResponseBytes(t *testing.T) {
	address, _, _ := backend(t, "a")
	for _, mode := range []string{probe.ModeHTTPNew, probe.ModeHTTPKeepalive} {
		for _, size := range []int{1, 3000, 1 << 20} {
			r, err := runLoad(t.Context(), t, Config{
				Mode: mode, Rate: 100, Count: 10, Timeout: 20 * time.Second, ResponseBytes: size,
				Targets: []probe.LoadTarget{{Name: "vip", Address: address}},
			})
			require.NoError(t, err)
			require.EqualValues(t, 10, r.totals.OK)
			require.Equal(t, size, r.start.ResponseBytes)
		}
	}
	for _, head := range []string{"Content-Length: 7\r\n", "Transfer-Encoding: chunked\r\n"} {
		wrong := listen(t, func(conn *net.TCPConn) {
			_, _ = conn.Read(make([]byte, 1024))
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+head+"\r\n7\r\n1234567\r\n0\r\n\r\n")
			_ = conn.Close()
		})
		r, err := runLoad(t.Context(), t, Config{
			Mode: probe.ModeHTTPNew, Rate: 100, Count: 1, Timeout: 20 * time.Second, ResponseBytes: 8,
			Targets: []probe.LoadTarget{{Name: "vip", Address: wrong}},
		})
		require.NoError(t, err)
		require.Equal(t, map[string]int64{probe.ErrorBadResponse: 1}, r.totals.ErrorKinds)
		require.Contains(t, r.errors[0].Message, "a body of 7 bytes, want 8")
	}
}

// An identity in chunks, or longer than a connection's buffer, is as good as any.
func TestUnusualAnswers(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for name, handler := range map[string]http.HandlerFunc{
		"chunked": func(w http.ResponseWriter, r *http.Request) {
			identify(w, r)
			w.(http.Flusher).Flush()
		},
		"long": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"pod":"p","peer":%q,"path":%q}`, r.RemoteAddr, long)
		},
		"long head": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Long", long); identify(w, r) },
		"in pieces": inPieces,
		"keep-alive": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "keep-alive")
			identify(w, r)
		},
	} {
		for _, mode := range []string{probe.ModeHTTPNew, probe.ModeHTTPKeepalive} {
			t.Run(name+" "+mode, func(t *testing.T) {
				server := httptest.NewServer(handler)
				defer server.Close()
				target := []probe.LoadTarget{{Name: "vip", Address: server.Listener.Addr().String()}}
				r, err := runLoad(t.Context(), t, Config{Mode: mode, Targets: target, Rate: 100, Count: 5, MaxInFlight: 1, Timeout: 20 * time.Second})
				require.NoError(t, err)
				require.EqualValues(t, 5, r.totals.OK+r.totals.Dropped, "%v", r.errors)
				require.Equal(t, int(r.totals.OK), r.peers["vip"].Backends["p"].Responses)
			})
		}
	}
}

func inPieces(w http.ResponseWriter, r *http.Request) {
	body := fmt.Sprintf(`{"pod":"p","peer":%q}`, r.RemoteAddr)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	for _, piece := range []string{body[:5], body[5:]} {
		_, _ = io.WriteString(w, piece)
		w.(http.Flusher).Flush()
		time.Sleep(time.Millisecond)
	}
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
			timeout := 20 * time.Second // a busy machine must not make one of another kind
			if test.kind == probe.ErrorTimeout {
				timeout = 500 * time.Millisecond
			}
			r, err := runLoad(t.Context(), t, Config{
				Mode: test.mode, Targets: []probe.LoadTarget{{Name: "vip", Address: test.address}}, Rate: 100, Count: 3, Timeout: timeout,
			})
			require.NoError(t, err)
			require.Len(t, r.errors, 3)
			require.Equal(t, map[string]int64{test.kind: 3}, r.totals.ErrorKinds, r.errors[0].Message)
			require.Equal(t, test.address, r.errors[0].Peer)
			require.Greater(t, r.errors[0].EndNS, r.errors[0].DueNS)
		})
	}
}
