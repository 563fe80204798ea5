// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package forward_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/containernetworking/plugins/pkg/testutils"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/forward"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

func loopback(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// countServer answers, once its client has closed its side, with what it read.
func countServer(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			body, _ := io.ReadAll(conn)
			_, _ = io.WriteString(conn, "got "+string(body))
		}()
	}
}

// start runs a forwarder that inherits its listener by descriptor; stop ends it
// as stdin does.
func start(t *testing.T, to string) (address string, stop func() (probe.End, []probe.Record)) {
	t.Helper()
	listener := loopback(t)
	file, err := listener.(*net.TCPListener).File()
	require.NoError(t, err)
	fd, err := syscall.Dup(int(file.Fd())) // Inherit owns it, as it would after exec
	require.NoError(t, err)
	require.NoError(t, file.Close())
	inherited, err := forward.Inherit(fd)
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	stdin, hold := io.Pipe()
	ctx, cancel := stream.Lifetime(context.Background(), stdin, time.Minute)
	var out bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- forward.Run(ctx, forward.Config{Listener: inherited, To: to}, stream.NewWriter(&out))
	}()
	t.Cleanup(cancel)
	return inherited.Addr().String(), func() (probe.End, []probe.Record) {
		require.NoError(t, hold.Close())
		require.NoError(t, <-done)
		records, err := stream.Read(&out)
		require.NoError(t, err)
		end, err := probe.Decode[probe.End](records[len(records)-1])
		require.NoError(t, err)
		return end, records
	}
}

func ask(t *testing.T, address, question string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = io.WriteString(conn, question)
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	return string(answer)
}

func TestForwardKeepsHalfClose(t *testing.T) {
	server := loopback(t)
	go countServer(server)
	address, stop := start(t, server.Addr().String())
	question := strings.Repeat("x", 1<<20)
	answer := ask(t, address, question)
	require.Len(t, answer, 4+len(question), "the answer comes after our side has closed")
	require.True(t, answer == "got "+question)
	end, _ := stop()
	require.Equal(t, probe.ReasonStdinClosed, end.Reason)
	totals, err := probe.Decode[probe.ForwardTotals](probe.Record{Body: end.Totals})
	require.NoError(t, err)
	require.Equal(t, probe.ForwardTotals{Connections: 1, BytesIn: 1 << 20, BytesOut: 1<<20 + 4}, totals)
}

func TestForwardEndsWithOpenConnectionsAndDeadServers(t *testing.T) {
	dead := loopback(t)
	require.NoError(t, dead.Close())
	address, stop := start(t, dead.Addr().String())
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
	end, _ := stop()
	require.Contains(t, string(end.Totals), `"dialErrors":1`)

	silent := loopback(t)
	address, stop = start(t, silent.Addr().String())
	open, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer open.Close()
	accepted, err := silent.Accept()
	require.NoError(t, err)
	defer accepted.Close()
	end, _ = stop()
	require.Equal(t, probe.ReasonStdinClosed, end.Reason)
}

// The listener belongs to the namespace it was opened in, and the dial to that
// of the process: here the dial goes to a listener in another namespace.
func TestForwardCrossesNamespaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	inside, err := testutils.NewNS()
	require.NoError(t, err)
	defer func() {
		_ = inside.Close()
		_ = testutils.UnmountNS(inside)
	}()
	var listener net.Listener
	require.NoError(t, inside.Do(func(ns.NetNS) error {
		link, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err == nil {
			listener, err = net.Listen("tcp", "127.0.0.1:0")
		}
		return err
	}))
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	server := loopback(t)
	go countServer(server)
	done := make(chan error, 1)
	go func() {
		done <- forward.Run(ctx, forward.Config{Listener: listener, To: server.Addr().String()}, stream.NewWriter(&out))
	}()
	var conn net.Conn
	require.NoError(t, inside.Do(func(ns.NetNS) error {
		conn, err = net.Dial("tcp", listener.Addr().String())
		return err
	}))
	_, err = io.WriteString(conn, "from inside")
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, "got from inside", string(answer))
	require.NoError(t, conn.Close())
	cancel()
	require.NoError(t, <-done)
}

func TestInheritRefusesWhatIsNoListener(t *testing.T) {
	file, err := os.Open(os.DevNull)
	require.NoError(t, err)
	fd, err := syscall.Dup(int(file.Fd()))
	require.NoError(t, err)
	require.NoError(t, file.Close())
	_, err = forward.Inherit(fd)
	require.ErrorContains(t, err, "inherit listener")
}
