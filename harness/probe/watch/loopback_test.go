// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package watch

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/serve"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/probe/timeline"
)

// watching is a run that goes on until end.
type watching struct {
	t      testing.TB
	stdin  *os.File
	out    output
	done   chan error
	ended  bool
	cancel context.CancelFunc
}

// output counts the lines that were written.
type output struct {
	bytes.Buffer
	lines atomic.Int64
}

func (o *output) Write(p []byte) (int, error) {
	o.lines.Add(int64(bytes.Count(p, []byte("\n"))))
	return o.Buffer.Write(p)
}

// await waits until so many records were written, however busy the machine is.
func (w *watching) await(records int64) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return w.out.lines.Load() >= records }, time.Minute, 10*time.Millisecond)
}

// begin starts a run; where may take it to another namespace.
func begin(t testing.TB, c Config, where func(func() error) error) *watching {
	t.Helper()
	read, write, err := os.Pipe()
	require.NoError(t, err)
	w := &watching{t: t, stdin: write, done: make(chan error, 1)}
	ctx, cancel := stream.Lifetime(t.Context(), read, 10*time.Minute)
	w.cancel = cancel
	go func() {
		w.done <- where(func() error { return Run(ctx, c, stream.NewWriter(&w.out)) })
	}()
	t.Cleanup(func() {
		cancel()
		_ = write.Close()
		if !w.ended {
			<-w.done
		}
		_ = read.Close()
	})
	return w
}

// end stops the run and reads it.
func (w *watching) end() (timeline.Timeline, []probe.Record) {
	w.t.Helper()
	w.ended = true
	require.NoError(w.t, w.stdin.Close())
	require.NoError(w.t, <-w.done)
	records, err := stream.Read(&w.out)
	require.NoError(w.t, err, "every run leaves a whole stream")
	got, err := timeline.Read(records)
	require.NoError(w.t, err)
	require.True(w.t, got.Complete)
	require.Equal(w.t, probe.ReasonDone, got.Reason)
	for _, traffic := range got.Traffic {
		require.Equal(w.t, traffic.Probes, traffic.OK+traffic.Failed+traffic.Dropped, traffic.Traffic)
		require.Equal(w.t, traffic.OK, traffic.Latency[probe.HistogramResponse].Count)
	}
	return got, records
}

func here(run func() error) error { return run() }

// backend is the real one, which can be stopped and started again at the same address.
type backend struct {
	t              testing.TB
	http, tcp, udp string
	pod            string
	stop           func()
	where          func(func() error) error
}

func newBackend(t testing.TB, pod, host string, where func(func() error) error) *backend {
	b := &backend{t: t, pod: pod, where: where, http: host + ":0", tcp: host + ":0", udp: host + ":0"}
	b.start()
	t.Cleanup(func() { b.stop() })
	return b
}

func (b *backend) start() {
	var c serve.Config
	require.NoError(b.t, b.where(func() (err error) {
		c, err = serve.Listen(b.t.Context(), b.http, b.tcp, b.udp)
		return err
	}))
	c.Pod, c.Grace = b.pod, time.Millisecond
	b.http, b.tcp, b.udp = c.HTTP.Addr().String(), c.TCP.Addr().String(), c.UDP.LocalAddr().String()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve.Run(ctx, c, stream.NewWriter(io.Discard)) }()
	b.stop = sync.OnceFunc(func() {
		stop()
		require.NoError(b.t, <-done)
	})
}

func byName(t testing.TB, got timeline.Timeline, name string) timeline.Traffic {
	t.Helper()
	for _, traffic := range got.Traffic {
		if traffic.Traffic == name {
			return traffic
		}
	}
	require.Fail(t, "no traffic "+name)
	return timeline.Traffic{}
}

// Healthy traffic of every kind leaves no probe in full.
func TestHealthyIsAggregated(t *testing.T) {
	b := newBackend(t, "a", "127.0.0.1", here)
	for _, mode := range []string{probe.ModeHTTPNew, probe.ModeTCPConnect} {
		w := begin(t, Config{New: b.http, Mode: mode, Long: b.tcp, UDP: b.udp, Interval: 5 * time.Millisecond, Timeout: 20 * time.Second}, here)
		w.await(2 + 3*4) // the start, the connection, and four buckets of each
		got, records := w.end()
		for _, traffic := range got.Traffic {
			require.Empty(t, traffic.Outages)
			require.Positive(t, traffic.OK)
			require.Zero(t, traffic.Failed+traffic.Dropped)
			require.NotNil(t, traffic.Latency[probe.HistogramLateness])
		}
		require.Len(t, got.Connections, 1)
		require.Equal(t, "open", got.Connections[0].Event)
		require.Equal(t, "a", got.Connections[0].Backend)
		backends := map[string]bool{}
		for _, r := range records {
			require.NotEqual(t, probe.KindWatchProbe, r.Kind)
			if r.Kind == probe.KindWatchBucket {
				bucket, err := probe.Decode[probe.WatchBucket](r)
				require.NoError(t, err)
				for name := range bucket.Backends {
					backends[bucket.Traffic+" by "+name] = true
				}
			}
		}
		require.Equal(t, mode == probe.ModeHTTPNew, backends["new by a"], "a handshake names nobody")
		require.True(t, backends["long by a"] && backends["udp by a"], "%v", backends)
	}
}

// A backend that is away is an outage of every kind, and the long-lived connection is
// another one afterwards.
func TestBackendAway(t *testing.T) {
	b := newBackend(t, "a", "127.0.0.1", here)
	w := begin(t, Config{New: b.http, Long: b.tcp, UDP: b.udp, Interval: 5 * time.Millisecond, Timeout: 2 * time.Second}, here)
	w.await(2 + 3*2) // all of them have been well
	b.stop()
	stopped := time.Now()
	time.Sleep(300 * time.Millisecond)
	away := time.Since(stopped)
	b.start()
	time.Sleep(500 * time.Millisecond)
	got, _ := w.end()
	for _, traffic := range got.Traffic {
		require.NotEmpty(t, traffic.Outages, traffic.Traffic)
		require.GreaterOrEqual(t, traffic.LongestNS, (away-100*time.Millisecond).Nanoseconds()-slack(traffic), traffic.Traffic)
		require.True(t, traffic.Outages[len(traffic.Outages)-1].Ended, "%+v", traffic.Outages)
	}
	// A backend that is about to end may take another connection, and end that too.
	for i, c := range got.Connections {
		require.Equal(t, []string{"open", "lost"}[i%2], c.Event, "%+v", got.Connections)
		if c.Event == "lost" {
			require.Equal(t, probe.ErrorReset, c.ErrorKind)
		}
	}
	require.GreaterOrEqual(t, len(got.Connections), 3)
	require.Equal(t, "open", got.Connections[len(got.Connections)-1].Event)
}

// slack is how much shorter an outage may seem on a machine that is busy: the probes at
// its ends were sent late.
func slack(traffic timeline.Traffic) int64 {
	return 2*traffic.Latency[probe.HistogramLateness].Max + 2*traffic.IntervalNS
}

// A connection on which nothing comes back is given up; what is sent on it fails. An
// echo that is late counts as failed too.
func TestSilentConnectionIsGivenUp(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	accepted := make(chan struct{}, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- struct{}{}
			go func() {
				_, _ = io.WriteString(conn, `{"pod":"mute","peer":"x"}`+"\n")
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}()
		}
	}()
	w := begin(t, Config{Long: listener.Addr().String(), Interval: 5 * time.Millisecond, Timeout: 100 * time.Millisecond, Reconnect: 200 * time.Millisecond}, here)
	for range 3 { // that there is a third means that the second was given up
		<-accepted
	}
	got, _ := w.end()
	require.Zero(t, got.Traffic[0].OK)
	require.Len(t, got.Traffic[0].Outages, 1)
	require.False(t, got.Traffic[0].Outages[0].Ended)
	require.GreaterOrEqual(t, len(got.Connections), 2)
	require.Equal(t, probe.ErrorTimeout, got.Connections[1].ErrorKind)
	require.Contains(t, got.Connections[1].Message, "nothing came back")
}

// An echo of another number is not taken for an answer.
func TestWrongEcho(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, `{"pod":"liar","peer":"x"}`+"\n")
		_, _ = io.ReadFull(conn, make([]byte, 8))
		_, _ = conn.Write([]byte{0, 0, 0, 0, 0, 0, 0, 99})
		_, _ = io.Copy(io.Discard, conn)
	}()
	w := begin(t, Config{Long: listener.Addr().String(), Interval: 20 * time.Millisecond, Timeout: 100 * time.Millisecond}, here)
	w.await(4) // the start, the connection, its loss, and a probe
	got, _ := w.end()
	require.Zero(t, got.Traffic[0].OK)
	require.Contains(t, got.Traffic[0].Outages[0].Errors, probe.ErrorBadResponse, "%+v", got.Connections)
}

func TestDurationEndsARun(t *testing.T) {
	b := newBackend(t, "a", "127.0.0.1", here)
	var out bytes.Buffer
	require.NoError(t, Run(t.Context(), Config{New: b.http, UDP: b.udp, Long: b.tcp, Interval: 10 * time.Millisecond, Duration: 200 * time.Millisecond, Timeout: 20 * time.Second}, stream.NewWriter(&out)))
	records, err := stream.Read(&out)
	require.NoError(t, err)
	got, err := timeline.Read(records)
	require.NoError(t, err)
	require.Equal(t, probe.ReasonDone, got.Reason)
	for _, traffic := range got.Traffic {
		require.Positive(t, traffic.OK)
		require.LessOrEqual(t, traffic.Probes, int64(20))
	}
}
