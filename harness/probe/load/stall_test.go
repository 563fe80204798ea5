// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/request"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// result is one run, decoded.
type result struct {
	start      probe.LoadArgs
	end        probe.End
	totals     probe.LoadTotals
	buckets    []probe.LoadBucket
	errors     []probe.LoadError
	histograms map[string]probe.LoadHistogram // by target/name
	peers      map[string]probe.LoadPeers
}

func runLoad(ctx context.Context, t testing.TB, c Config) (result, error) {
	t.Helper()
	var out bytes.Buffer
	runErr := Run(ctx, c, stream.NewWriter(&out))
	records, err := stream.Read(&out)
	require.NoError(t, err, "every run leaves a whole stream")
	r := result{histograms: map[string]probe.LoadHistogram{}, peers: map[string]probe.LoadPeers{}}
	for _, record := range records {
		switch record.Kind {
		case probe.KindStart:
			start, err := probe.Decode[probe.Start](record)
			require.NoError(t, err)
			r.start, err = probe.Decode[probe.LoadArgs](probe.Record{Body: start.Args})
			require.NoError(t, err)
		case probe.KindLoadBucket:
			b, err := probe.Decode[probe.LoadBucket](record)
			require.NoError(t, err)
			r.buckets = append(r.buckets, b)
		case probe.KindLoadError:
			e, err := probe.Decode[probe.LoadError](record)
			require.NoError(t, err)
			r.errors = append(r.errors, e)
		case probe.KindLoadHistogram:
			h, err := probe.Decode[probe.LoadHistogram](record)
			require.NoError(t, err)
			r.histograms[h.Target+"/"+h.Name] = h
		case probe.KindLoadPeers:
			p, err := probe.Decode[probe.LoadPeers](record)
			require.NoError(t, err)
			r.peers[p.Target] = p
		case probe.KindEnd:
			r.end, err = probe.Decode[probe.End](record)
			require.NoError(t, err)
			if r.end.Totals != nil {
				r.totals, err = probe.Decode[probe.LoadTotals](probe.Record{Body: r.end.Totals})
				require.NoError(t, err)
			}
		}
	}
	if runErr == nil {
		requireConsistent(t, r)
	}
	return r, runErr
}

// requireConsistent holds every number against the others that count the same.
func requireConsistent(t testing.TB, r result) {
	t.Helper()
	require.Equal(t, r.totals.Scheduled, r.totals.Completed+r.totals.Dropped+r.totals.Cancelled)
	require.Equal(t, r.totals.Completed, r.totals.OK+r.totals.Errors)
	require.Len(t, r.errors, int(r.totals.Errors))
	var sum probe.LoadBucket
	for _, b := range r.buckets {
		require.Positive(t, b.Requests)
		sum.Requests += b.Requests
		sum.OK += b.OK
		sum.Errors += b.Errors
		sum.Late += b.Late
		sum.Dropped += b.Dropped
	}
	require.EqualValues(t, r.totals.Scheduled, sum.Requests)
	require.EqualValues(t, r.totals.OK, sum.OK)
	require.EqualValues(t, r.totals.Errors, sum.Errors)
	require.EqualValues(t, r.totals.Late, sum.Late)
	require.EqualValues(t, r.totals.Dropped, sum.Dropped)
	var recorded int64
	for name, h := range r.histograms {
		decoded, err := hdrhistogram.Decode([]byte(h.HDR))
		require.NoError(t, err)
		require.Equal(t, h.Count, decoded.TotalCount(), name)
		if strings.HasSuffix(name, "/"+probe.HistogramResponse) {
			recorded += h.Count
		}
	}
	require.Equal(t, r.totals.OK-r.totals.WarmupExcluded, recorded)
}

// pipeServer answers HTTP over in-memory pipes, and holds every answer that
// falls within the stall until its end.
func pipeServer(begin time.Time, from, until time.Duration) request.DialFunc {
	return func(_ context.Context, _, _ string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			reader := bufio.NewReader(server)
			for {
				if _, err := http.ReadRequest(reader); err != nil {
					return
				}
				if now := time.Since(begin); now >= from && now < until {
					time.Sleep(until - now)
				}
				body := `{"pod":"p","node":"n","host":"h","protocol":"http","peer":"10.0.0.1:5"}`
				if _, err := fmt.Fprintf(server, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
					return
				}
			}
		}()
		return client, nil
	}
}

var oneTarget = []probe.LoadTarget{{Name: "vip", Address: "10.0.0.9:80"}}

// A stall of 1 s in 10 s at 100/s hits a tenth of the requests: an open loop's
// p99 must say so. A closed loop would have one slow sample and a p99 of nothing. Nor do
// few connections hide it: the wait for one counts.
func TestStallShowsInThePercentiles(t *testing.T) {
	for _, test := range []struct {
		mode                string
		connections, dialed int
		spare               float64
	}{
		{probe.ModeHTTPNew, 0, 1000, 0},
		{probe.ModeHTTPNew, 3, 1000, 0},
		{probe.ModeHTTPKeepalive, 0, 100, 1},
		{probe.ModeHTTPKeepalive, 3, 3, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			var dialed atomic.Int64
			dial := pipeServer(time.Now(), 4*time.Second, 5*time.Second)
			r, err := runLoad(t.Context(), t, Config{
				Mode: test.mode, Targets: oneTarget, Rate: 100, Duration: 10 * time.Second, Connections: test.connections, Sleep: time.Sleep,
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					dialed.Add(1)
					return dial(ctx, network, address)
				},
			})
			require.NoError(t, err)
			// At the end of the stall one more may be due before the first is free.
			require.InDelta(t, test.dialed, dialed.Load(), test.spare)
			require.EqualValues(t, cmp.Or(test.connections, 1024), r.start.Connections)
			require.EqualValues(t, 1000, r.totals.OK)
			h := r.histograms["vip/response"]
			require.Less(t, h.P50, int64(time.Millisecond))
			require.InDelta(t, 900*time.Millisecond, h.P99, float64(20*time.Millisecond))
			require.EqualValues(t, time.Second, h.Max)
			require.Equal(t, 100, len(r.buckets))
			var stalled int
			for _, b := range r.buckets {
				if b.MaxResponseNS > 50e6 {
					stalled++
				}
			}
			require.Equal(t, 10, stalled, "the buckets show when")
		})
	}
}

func TestDroppedRequestsAreCountedNotAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		r, err := runLoad(t.Context(), t, Config{
			Mode: probe.ModeHTTPNew, Targets: oneTarget, Rate: 100, Count: 500, MaxInFlight: 10,
			Sleep: time.Sleep, Dial: pipeServer(begin, time.Second, 1995*time.Millisecond),
		})
		require.NoError(t, err)
		require.EqualValues(t, 90, r.totals.Dropped)
		require.EqualValues(t, 410, r.totals.OK)
		require.Equal(t, 4990*time.Millisecond, time.Since(begin), "the schedule did not slip")
	})
}

// A target that answers nothing holds up what waits for a connection no longer than an
// answer may take, and what was never sent is not late.
func TestWaitForAConnectionEnds(t *testing.T) {
	for _, test := range []struct {
		name            string
		stopped         time.Duration // 0: when all have been due
		sent, cancelled int64
		reason          string
		within          time.Duration
	}{
		{"not stopped", 0, 6, 0, probe.ReasonDone, 990*time.Millisecond + 2*2*time.Second},
		{"stopped", 500 * time.Millisecond, 3, 50, probe.ReasonDeadline, 500*time.Millisecond + time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			ctx := t.Context()
			if test.stopped > 0 {
				var stop context.CancelFunc
				ctx, stop = stream.Lifetime(ctx, nil, test.stopped-5*time.Millisecond)
				defer stop()
			}
			r, err := runLoad(ctx, t, Config{
				Mode: probe.ModeHTTPNew, Targets: oneTarget, Rate: 100, Count: 100, Connections: 3, Timeout: 2 * time.Second,
				Sleep: time.Sleep, Dial: pipeServer(begin, 0, time.Hour),
			})
			require.NoError(t, err)
			require.Equal(t, test.reason, r.end.Reason)
			require.LessOrEqual(t, time.Since(begin), test.within)
			require.Equal(t, test.cancelled, r.totals.Cancelled)
			require.Equal(t, r.totals.Scheduled, r.totals.Errors+r.totals.Cancelled)
			require.Equal(t, r.totals.Errors, r.totals.ErrorKinds[probe.ErrorTimeout])
			require.Equal(t, test.sent, r.histograms["vip/lateness"].Count)
			require.LessOrEqual(t, r.totals.Late, test.sent)
			time.Sleep(2 * time.Hour) // let the fake server's goroutines see their closed pipes
		})
	}
}

func TestUncorrectedServiceTimeHidesALateSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		c, err := Config{Mode: probe.ModeHTTPNew, Targets: oneTarget, Rate: 1, Sleep: time.Sleep, Dial: pipeServer(time.Now(), 0, 0)}.withDefaults()
		require.NoError(t, err)
		requesters, err := c.requesters()
		require.NoError(t, err)
		start := time.Now()
		recorder := newRecorder(c, stream.NewWriter(&out).Emit, start)
		g := &generator{config: c, start: start, requesters: requesters, recorder: recorder}
		time.Sleep(3 * time.Second)
		require.NoError(t, recorder.scheduled(0, start, false))
		o := g.request(t.Context(), job{due: start})
		require.NoError(t, recorder.ended(o))
		require.EqualValues(t, 3*time.Second, recorder.targets[0].response.Max())
		require.Less(t, recorder.targets[0].service.Max(), time.Millisecond)
		require.EqualValues(t, 3*time.Second, recorder.targets[0].lateness.Max())
		require.EqualValues(t, 1, recorder.targets[0].totals.Late)
	})
}

func TestRunEndsOnEveryPath(t *testing.T) {
	for _, test := range []struct {
		name, reason string
		cancelled    int64
		stall        time.Duration
		change       func(*Config)
		lifetime     func(context.Context) (context.Context, context.CancelFunc)
	}{
		{"deadline", probe.ReasonDeadline, 0, 0, nil, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return stream.Lifetime(ctx, nil, 995*time.Millisecond)
		}},
		{"stdin", probe.ReasonStdinClosed, 0, 0, nil, func(ctx context.Context) (context.Context, context.CancelFunc) {
			stdin, closed := io.Pipe()
			time.AfterFunc(995*time.Millisecond, func() { _ = closed.Close() })
			return stream.Lifetime(ctx, stdin, 0)
		}},
		{"stopped while all hang", probe.ReasonDeadline, 100, time.Hour, func(c *Config) { c.Timeout = time.Minute }, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return stream.Lifetime(ctx, nil, 995*time.Millisecond)
		}},
		{"stopped while the last are awaited", probe.ReasonDeadline, 100, time.Hour, func(c *Config) { c.Timeout, c.Count = time.Minute, 100 }, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return stream.Lifetime(ctx, nil, 2*time.Second)
		}},
		{"bad mode", probe.ReasonError, 0, 0, func(c *Config) { c.Mode = "smoke" }, nil},
		{"connections that are never in flight", probe.ReasonError, 0, 0, func(c *Config) { c.Connections, c.MaxInFlight = 5, 4 }, nil},
		{"bad rate", probe.ReasonError, 0, 0, func(c *Config) { c.Rate = 0 }, nil},
		{"no target", probe.ReasonError, 0, 0, func(c *Config) { c.Targets = nil }, nil},
		{"target without port", probe.ReasonError, 0, 0, func(c *Config) { c.Targets = []probe.LoadTarget{{Name: "x", Address: "y"}} }, nil},
		{"name twice", probe.ReasonError, 0, 0, func(c *Config) { c.Targets = append(c.Targets, oneTarget...) }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := Config{Mode: probe.ModeHTTPNew, Targets: oneTarget, Rate: 100, Sleep: time.Sleep, Dial: pipeServer(time.Now(), 0, test.stall)}
				if test.change != nil {
					test.change(&c)
				}
				ctx := t.Context()
				if test.lifetime != nil {
					var stop context.CancelFunc
					ctx, stop = test.lifetime(ctx)
					defer stop()
				}
				r, err := runLoad(ctx, t, c)
				require.Equal(t, test.reason == probe.ReasonError, err != nil, "%v", err)
				require.Equal(t, test.reason, r.end.Reason)
				if test.lifetime != nil {
					require.EqualValues(t, 100, r.totals.Scheduled)
					require.Equal(t, test.cancelled, r.totals.Cancelled)
				}
				time.Sleep(2 * time.Hour) // let the fake server's goroutines see their closed pipes
			})
		})
	}
}

func BenchmarkScheduling(b *testing.B) {
	c, err := Config{Mode: probe.ModeTCPConnect, Targets: oneTarget, Rate: 1e6}.withDefaults()
	require.NoError(b, err)
	start := time.Now()
	c.Count = int64(b.N)
	g := &generator{
		config: c, start: start, requesters: []request.Requester{instant{}},
		recorder: newRecorder(c, stream.NewWriter(io.Discard).Emit, start),
	}
	b.ReportAllocs()
	b.ResetTimer()
	if _, err := g.run(b.Context()); err != nil {
		b.Fatal(err)
	}
}

type instant struct{}

func (instant) Do(context.Context, time.Time) (request.Answer, error) { return request.Answer{}, nil }
func (instant) Close()                                                {}
