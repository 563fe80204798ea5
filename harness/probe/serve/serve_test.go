// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/pattern"
	"github.com/lbmatrix/lbmatrix/harness/probe/serve"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

type running struct {
	serve.Config
	stop func() []probe.Record
}

func run(t *testing.T) running {
	t.Helper()
	c, err := serve.Listen(t.Context(), "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0")
	require.NoError(t, err)
	c.Pod, c.Node, c.Grace = "pod-1", "node-1", 20*time.Second
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve.Run(ctx, c, stream.NewWriter(&out)) }()
	t.Cleanup(cancel)
	return running{c, func() []probe.Record {
		cancel()
		require.NoError(t, <-done)
		records, err := stream.Read(&out)
		require.NoError(t, err)
		return records
	}}
}

func TestServeNamesItselfAndThePeer(t *testing.T) {
	r := run(t)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + r.HTTP.Addr().String() + "/")
	require.NoError(t, err)
	var id probe.Identity
	require.NoError(t, json.NewDecoder(response.Body).Decode(&id))
	require.NoError(t, response.Body.Close())
	require.Equal(t, "pod-1", id.Pod)
	require.Equal(t, "node-1", id.Node)
	require.Equal(t, "http", id.Protocol)
	require.Equal(t, r.HTTP.Addr().String(), id.Local)
	require.Contains(t, id.Peer, "127.0.0.1:")

	for path, want := range map[string]int{"/healthz": 200, "/bytes?n=100000": 200, "/bytes?n=-1": 400, "/bytes?n=x": 400, "/other": 404} {
		response, err := client.Get("http://" + r.HTTP.Addr().String() + path)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, want, response.StatusCode, path)
		if path == "/bytes?n=100000" {
			require.Len(t, body, 100000)
			require.Equal(t, -1, pattern.Check(body, 0))
		}
	}

	tcp, err := net.Dial("tcp", r.TCP.Addr().String())
	require.NoError(t, err)
	defer tcp.Close()
	reader := bufio.NewReader(tcp)
	greeting, err := reader.ReadBytes('\n')
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(greeting, &id))
	require.Equal(t, tcp.LocalAddr().String(), id.Peer)
	_, err = io.WriteString(tcp, "echo")
	require.NoError(t, err)
	require.NoError(t, tcp.(*net.TCPConn).CloseWrite())
	rest, err := io.ReadAll(reader)
	require.NoError(t, err)
	require.Equal(t, "echo", string(rest))

	udp, err := net.Dial("udp", r.UDP.LocalAddr().String())
	require.NoError(t, err)
	defer udp.Close()
	_, err = udp.Write(make([]byte, 9000))
	require.NoError(t, err)
	require.NoError(t, udp.SetReadDeadline(time.Now().Add(20*time.Second)))
	buffer := make([]byte, 4096)
	n, err := udp.Read(buffer)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(buffer[:n], &id))
	require.Equal(t, 9000, id.Length)
	require.Equal(t, udp.LocalAddr().String(), id.Peer)
	sent := append([]byte(probe.EchoPrefix), make([]byte, 3000)...)
	_, err = udp.Write(sent)
	require.NoError(t, err)
	n, err = udp.Read(buffer)
	require.NoError(t, err)
	require.Equal(t, sent, buffer[:n], "asked to, it sends a datagram back")

	records := r.stop()
	end, err := probe.Decode[probe.End](records[len(records)-1])
	require.NoError(t, err)
	require.Equal(t, probe.ReasonCancelled, end.Reason)
	require.JSONEq(t, `{"http":1,"tcp":1,"udp":2}`, string(end.Totals))
}

func TestServeEndsWithOpenConnections(t *testing.T) {
	r := run(t)
	tcp, err := net.Dial("tcp", r.TCP.Addr().String())
	require.NoError(t, err)
	defer tcp.Close()
	_, err = bufio.NewReader(tcp).ReadBytes('\n')
	require.NoError(t, err)
	require.Len(t, r.stop(), 2)
	_, err = net.Dial("tcp", r.TCP.Addr().String())
	require.Error(t, err)
}

func TestServeNothingIsAnError(t *testing.T) {
	require.ErrorContains(t, serve.Run(t.Context(), serve.Config{}, stream.NewWriter(io.Discard)), "nothing to serve")
	_, err := serve.Listen(t.Context(), "127.0.0.1:0", "256.0.0.1:x", "")
	require.ErrorContains(t, err, "listen for tcp")
}
