// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package exchange_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/exchange"
	"github.com/lbmatrix/lbmatrix/harness/probe/pattern"
	"github.com/lbmatrix/lbmatrix/harness/probe/serve"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// backend runs the real backend on loopback.
func backend(t *testing.T) serve.Config {
	t.Helper()
	c, err := serve.Listen(t.Context(), "127.0.0.1:0", "", "127.0.0.1:0")
	require.NoError(t, err)
	c.Pod, c.Node = "pod-1", "node-1"
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var out bytes.Buffer
	go func() { done <- serve.Run(ctx, c, stream.NewWriter(&out)) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	return c
}

// run makes a run and returns its results by target, and how it ended.
func run(t *testing.T, c exchange.Config) (map[string][]probe.ExchangeResult, probe.End) {
	t.Helper()
	var out bytes.Buffer
	err := exchange.Run(t.Context(), c, stream.NewWriter(&out))
	records, readErr := stream.Read(&out)
	require.NoError(t, readErr)
	end, decodeErr := probe.Decode[probe.End](records[len(records)-1])
	require.NoError(t, decodeErr)
	require.Equal(t, end.Reason == probe.ReasonError, err != nil)
	results := map[string][]probe.ExchangeResult{}
	for _, r := range records {
		if r.Kind != probe.KindExchange {
			continue
		}
		body, err := probe.Decode[probe.ExchangeResult](r)
		require.NoError(t, err)
		results[body.Target] = append(results[body.Target], body)
	}
	return results, end
}

func TestEveryByteComesBack(t *testing.T) {
	b := backend(t)
	udp, http := b.UDP.LocalAddr().String(), b.HTTP.Addr().String()
	all := []probe.ExchangeTarget{
		{Name: "small", Protocol: probe.ExchangeUDP, Address: udp, Bytes: 8},
		{Name: "who", Protocol: probe.ExchangeAsk, Address: udp, Bytes: 32},
		{Name: "jumbo", Protocol: probe.ExchangeUDP, Address: udp, Bytes: 65507},
		{Name: "empty", Protocol: probe.ExchangeHTTP, Address: http, Bytes: 0},
		{Name: "megabyte", Protocol: probe.ExchangeHTTP, Address: http, Bytes: 1 << 20},
	}
	for name, interval := range map[string]time.Duration{"in turns": 0, "on a schedule": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			targets := slices.Clone(all)
			if interval > 0 {
				// All may come at once, and must fit into the backend's socket however long it is not run.
				targets[2].Bytes = 4000
			}
			results, end := run(t, exchange.Config{Targets: targets, Count: 5, Interval: interval, Timeout: time.Minute})
			require.Equal(t, probe.ReasonDone, end.Reason)
			require.JSONEq(t, `{"exchanges":25,"ok":25}`, string(end.Totals))
			for _, target := range targets {
				require.Len(t, results[target.Name], 5)
				for _, r := range results[target.Name] {
					require.Empty(t, r.ErrorKind, r.Message)
					if target.Protocol == probe.ExchangeAsk {
						require.Equal(t, "pod-1/node-1/127.0.0.1", r.Pod+"/"+r.Node+"/"+r.Peer)
					} else {
						require.EqualValues(t, target.Bytes, r.Received)
					}
					require.Positive(t, r.DurationNS)
					require.NotEmpty(t, r.Local)
				}
			}
		})
	}
}

func TestWhatIsNotDueIsCorrupt(t *testing.T) {
	var right [1000]byte
	pattern.Fill(right[:], 0)
	for name, write := range map[string]func(http.ResponseWriter){
		"another byte": func(w http.ResponseWriter) {
			wrong := right
			wrong[999] ^= 1
			_, _ = w.Write(wrong[:])
		},
		"too short": func(w http.ResponseWriter) { _, _ = w.Write(right[:999]) },
		"too long":  func(w http.ResponseWriter) { _, _ = w.Write(append(right[:], 0)) },
		"an error":  func(w http.ResponseWriter) { http.Error(w, "no", http.StatusServiceUnavailable) },
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { write(w) }))
			defer server.Close()
			results, end := run(t, exchange.Config{Count: 1, Targets: []probe.ExchangeTarget{
				{Name: "a", Protocol: probe.ExchangeHTTP, Address: strings.TrimPrefix(server.URL, "http://"), Bytes: 1000},
			}})
			require.Equal(t, probe.ReasonDone, end.Reason)
			require.Equal(t, probe.ErrorCorrupt, results["a"][0].ErrorKind)
		})
	}
}

func TestDatagramsThatAreLostOrOthers(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer conn.Close()
	go func() { // drops what is over 1400 bytes, and cuts what is over 100
		buffer := make([]byte, 64<<10)
		for {
			n, peer, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if n <= 1400 {
				_, _ = conn.WriteTo(buffer[:min(n, 100)], peer)
			}
		}
	}()
	address := conn.LocalAddr().String()
	target := func(name string, n int) probe.ExchangeTarget {
		return probe.ExchangeTarget{Name: name, Protocol: probe.ExchangeUDP, Address: address, Bytes: n}
	}
	results, _ := run(t, exchange.Config{
		Count: 1, Interval: time.Millisecond, Timeout: 500 * time.Millisecond,
		Targets: []probe.ExchangeTarget{target("whole", 100), target("cut", 101), target("lost", 1401)},
	})
	require.Empty(t, results["whole"][0].ErrorKind)
	require.Equal(t, probe.ErrorCorrupt, results["cut"][0].ErrorKind)
	require.Equal(t, probe.ErrorTimeout, results["lost"][0].ErrorKind)
}

// A client that asked one address takes no answer from another; this one tells it from a loss.
func TestAnswerFromElsewhere(t *testing.T) {
	asked, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer asked.Close()
	other, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer other.Close()
	go func() {
		buffer := make([]byte, 100)
		n, peer, err := asked.ReadFrom(buffer)
		if err == nil {
			_, _ = other.WriteTo(buffer[:n], peer)
		}
	}()
	results, _ := run(t, exchange.Config{Count: 1, Timeout: time.Minute, Targets: []probe.ExchangeTarget{
		{Name: "a", Protocol: probe.ExchangeUDP, Address: asked.LocalAddr().String(), Bytes: 50},
	}})
	require.Equal(t, probe.ErrorWrongSource, results["a"][0].ErrorKind)
	require.Contains(t, results["a"][0].Message, other.LocalAddr().String()+" answered")
}

func TestDatagramsComeFromTheirPorts(t *testing.T) {
	b := backend(t)
	results, _ := run(t, exchange.Config{Count: 5, FirstPort: 23001, LastPort: 23003, Timeout: time.Minute, Targets: []probe.ExchangeTarget{
		{Name: "a", Protocol: probe.ExchangeAsk, Address: b.UDP.LocalAddr().String(), Bytes: 1},
	}})
	var ports []string
	for _, r := range results["a"] {
		require.Empty(t, r.ErrorKind, r.Message)
		ports = append(ports, r.Local)
	}
	require.Equal(t, []string{"0.0.0.0:23001", "0.0.0.0:23002", "0.0.0.0:23003", "0.0.0.0:23001", "0.0.0.0:23002"}, ports)
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	results, end := run(t, exchange.Config{Count: 2, Targets: []probe.ExchangeTarget{
		{Name: "a", Protocol: probe.ExchangeHTTP, Address: l.Addr().String(), Bytes: 1},
	}})
	require.Equal(t, probe.ErrorRefused, results["a"][1].ErrorKind)
	require.JSONEq(t, `{"exchanges":2,"ok":0}`, string(end.Totals))
}

func TestRunThatIsStoppedSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	var out bytes.Buffer
	require.NoError(t, exchange.Run(ctx, exchange.Config{Count: 1, Targets: []probe.ExchangeTarget{
		{Name: "a", Protocol: probe.ExchangeHTTP, Address: "127.0.0.1:1", Bytes: 1},
	}}, stream.NewWriter(&out)))
	records, err := stream.Read(&out)
	require.NoError(t, err)
	end, err := probe.Decode[probe.End](records[len(records)-1])
	require.NoError(t, err)
	require.Equal(t, probe.ReasonCancelled, end.Reason)
}

func TestBadConfigurations(t *testing.T) {
	good := probe.ExchangeTarget{Name: "a", Protocol: probe.ExchangeUDP, Address: "127.0.0.1:1", Bytes: 8}
	with := func(change func(*probe.ExchangeTarget)) exchange.Config {
		bad := good
		change(&bad)
		return exchange.Config{Count: 1, Targets: []probe.ExchangeTarget{bad}}
	}
	for name, c := range map[string]exchange.Config{
		"no target":       {Count: 1},
		"no count":        {Targets: []probe.ExchangeTarget{good}},
		"twice":           {Count: 1, Targets: []probe.ExchangeTarget{good, good}},
		"nameless":        with(func(t *probe.ExchangeTarget) { t.Name = "" }),
		"no port":         with(func(t *probe.ExchangeTarget) { t.Address = "127.0.0.1" }),
		"small datagram":  with(func(t *probe.ExchangeTarget) { t.Bytes = 7 }),
		"large datagram":  with(func(t *probe.ExchangeTarget) { t.Bytes = 65508 }),
		"negative body":   with(func(t *probe.ExchangeTarget) { t.Protocol, t.Bytes = probe.ExchangeHTTP, -1 }),
		"other protocol":  with(func(t *probe.ExchangeTarget) { t.Protocol = "sctp" }),
		"negative waits":  {Count: 1, Targets: []probe.ExchangeTarget{good}, Interval: -1},
		"half a range":    {Count: 1, Targets: []probe.ExchangeTarget{good}, FirstPort: 20000},
		"range backwards": {Count: 1, Targets: []probe.ExchangeTarget{good}, FirstPort: 20001, LastPort: 20000},
		"ports too high":  {Count: 1, Targets: []probe.ExchangeTarget{good}, FirstPort: 20001, LastPort: 65536},
		"negative limits": {Count: 1, Targets: []probe.ExchangeTarget{good}, Timeout: -1},
	} {
		t.Run(name, func(t *testing.T) {
			_, end := run(t, c)
			require.Equal(t, probe.ReasonError, end.Reason)
		})
	}
}
