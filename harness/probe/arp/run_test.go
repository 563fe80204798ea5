// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package arp

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// fakeConn answers each who-has with the frames of respond, at once.
type fakeConn struct {
	respond  func(Frame) []Frame
	sendErr  error
	received chan Packet
	failed   chan error
	unblock  chan struct{}
	once     sync.Once
	drops    uint32
	sentNS   int64
}

func newFakeConn(respond func(Frame) []Frame) *fakeConn {
	return &fakeConn{respond: respond, received: make(chan Packet, 1000), failed: make(chan error, 1), unblock: make(chan struct{})}
}

func (f *fakeConn) Send(raw []byte) error {
	if f.sendErr != nil {
		return f.sendErr
	}
	frame, err := Parse(raw)
	if err != nil {
		return err
	}
	f.sentNS = time.Now().UnixNano() + 300
	for _, answer := range f.respond(frame) {
		f.received <- Packet{Frame: answer.Bytes(), ReceivedNS: time.Now().UnixNano() + 1000}
	}
	return nil
}

func (f *fakeConn) Receive() (Packet, error) {
	select {
	case p := <-f.received:
		return p, nil
	case err := <-f.failed:
		return Packet{}, err
	case <-f.unblock:
		return Packet{}, os.ErrDeadlineExceeded
	}
}

func (f *fakeConn) Unblock() error                 { f.once.Do(func() { close(f.unblock) }); return nil }
func (f *fakeConn) Stats() (uint32, uint32, error) { return 9, f.drops, nil }
func (f *fakeConn) Close() error                   { return nil }
func (f *fakeConn) SentNS() int64                  { return f.sentNS }
func (f *fakeConn) Local() Local {
	return Local{Interface: "fake0", MAC: HardwareAddr{2, 0, 0, 0, 0, 1}, Addresses: []netip.Prefix{
		netip.MustParsePrefix("192.168.0.1/24"), netip.MustParsePrefix("10.0.0.1/24"),
	}}
}

func answerFrom(macs ...HardwareAddr) func(Frame) []Frame {
	return func(question Frame) []Frame {
		var answers []Frame
		for _, mac := range macs {
			answers = append(answers, Frame{
				EthernetDestination: question.EthernetSource, EthernetSource: mac, Op: OpReply,
				SenderMAC: mac, SenderIP: question.TargetIP, TargetMAC: question.SenderMAC, TargetIP: question.SenderIP,
			})
		}
		return answers
	}
}

func sweepWith(ctx context.Context, t *testing.T, c Config) ([]probe.Record, error) {
	t.Helper()
	var out bytes.Buffer
	runErr := Run(ctx, c, stream.NewWriter(&out))
	records, err := stream.Read(&out)
	require.NoError(t, err, "every run leaves a whole stream")
	return records, runErr
}

func endOf(t *testing.T, records []probe.Record) (probe.End, probe.ARPTotals) {
	t.Helper()
	end, err := probe.Decode[probe.End](records[len(records)-1])
	require.NoError(t, err)
	var totals probe.ARPTotals
	if end.Totals != nil {
		totals, err = probe.Decode[probe.ARPTotals](probe.Record{Body: end.Totals})
		require.NoError(t, err)
	}
	return end, totals
}

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

func TestRunAsksOnScheduleAndAttributes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newFakeConn(answerFrom(HardwareAddr{2, 9}, HardwareAddr{2, 8}))
		conn.drops = 4
		begin := time.Now()
		records, err := sweepWith(t.Context(), t, Config{
			Conn: conn, Targets: addrs("10.0.0.9", "10.0.0.8"), Count: 3, Interval: time.Second, Settle: time.Second,
		})
		require.NoError(t, err)
		start, err := probe.Decode[probe.Start](records[0])
		require.NoError(t, err)
		require.Equal(t, "10.0.0.1", start.Address, "the source shares the target's subnet")
		var sent []time.Duration
		for _, r := range records {
			switch r.Kind {
			case probe.KindARPProbe:
				p, err := probe.Decode[probe.ARPProbe](r)
				require.NoError(t, err)
				sent = append(sent, time.Unix(0, p.SentNS).Sub(begin))
			case probe.KindARPReply:
				p, err := probe.Decode[probe.ARPReply](r)
				require.NoError(t, err)
				require.Equal(t, p.SentNS+1000, p.ReceivedNS)
				require.GreaterOrEqual(t, p.Probe, 0)
			}
		}
		ms := time.Millisecond
		require.Equal(t, []time.Duration{0, 500 * ms, 1000 * ms, 1500 * ms, 2000 * ms, 2500 * ms}, sent)
		end, totals := endOf(t, records)
		require.Equal(t, probe.ReasonDone, end.Reason)
		require.Equal(t, probe.ARPTotals{Sent: 6, Replies: 12, KernelPackets: 9, KernelDrops: 4}, totals)
		require.Equal(t, 3500*ms, time.Since(begin))

		summary, err := Summarize(records)
		require.NoError(t, err)
		require.True(t, summary.Complete)
		require.Equal(t, uint32(4), summary.KernelDrops)
		require.Len(t, summary.VIPs, 2)
		require.Equal(t, 3, summary.VIPs[0].Answered)
		require.Len(t, summary.VIPs[0].Responders, 2)
		require.Equal(t, 3, summary.VIPs[0].Responders[1].Replies)
		require.Equal(t, 2*time.Second, summary.VIPs[0].Responders[1].LastSeen.Sub(summary.VIPs[0].Responders[1].FirstSeen))
		require.EqualValues(t, 700, summary.VIPs[0].Responders[1].RoundTripNS, "from the kernel's send time to its receive time")
		require.EqualValues(t, 4, summary.VIPs[1].KernelDrops)
		var table strings.Builder
		require.NoError(t, Table(&table, summary))
		require.Contains(t, table.String(), "the kernel dropped 4 frames")
		require.Contains(t, table.String(), "10.0.0.9  3/3       2           02:09:00:00:00:00  02:09:00:00:00:00  3        +0.000 s  +2.000 s  0.7 us      0\n")
	})
}

func TestRunEndsOnEveryPath(t *testing.T) {
	for _, test := range []struct {
		name, reason string
		change       func(*Config, *fakeConn)
		lifetime     func(context.Context) (context.Context, context.CancelFunc)
	}{
		{"deadline", probe.ReasonDeadline, nil, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return stream.Lifetime(ctx, nil, 5*time.Second)
		}},
		{"stdin", probe.ReasonStdinClosed, nil, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return stream.Lifetime(ctx, strings.NewReader(""), 0)
		}},
		{"receive fails", probe.ReasonError, func(_ *Config, f *fakeConn) { f.failed <- errors.New("torn out") }, nil},
		{"bad target", probe.ReasonError, func(c *Config, _ *fakeConn) { c.Targets = addrs("::1") }, nil},
		{"target twice", probe.ReasonError, func(c *Config, _ *fakeConn) { c.Targets = addrs("10.0.0.9", "10.0.0.9") }, nil},
		{"no target", probe.ReasonError, func(c *Config, _ *fakeConn) { c.Targets = nil }, nil},
		{"no interface", probe.ReasonError, func(c *Config, _ *fakeConn) { c.Conn, c.Interface = nil, "absent0" }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := newFakeConn(answerFrom())
				c := Config{Conn: conn, Targets: addrs("10.0.0.9"), Interval: time.Second}
				if test.change != nil {
					test.change(&c, conn)
				}
				ctx := t.Context()
				if test.lifetime != nil {
					var stop context.CancelFunc
					ctx, stop = test.lifetime(ctx)
					defer stop()
				}
				records, err := sweepWith(ctx, t, c)
				require.Equal(t, test.reason == probe.ReasonError, err != nil)
				end, _ := endOf(t, records)
				require.Equal(t, test.reason, end.Reason)
			})
		})
	}
}

func TestRunRecordsWhatCannotBeSentAndWhatIsNotForUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newFakeConn(nil)
		conn.sendErr = syscall.ENETDOWN
		conn.failed <- syscall.ENETDOWN
		toOther := answerFrom(HardwareAddr{2, 9})(Frame{SenderMAC: HardwareAddr{7}, EthernetSource: HardwareAddr{7}, TargetIP: netip.MustParseAddr("10.0.0.9"), SenderIP: netip.MustParseAddr("10.0.0.3")})[0]
		conn.received <- Packet{Frame: toOther.Bytes(), ReceivedNS: 1}
		conn.received <- Packet{Frame: []byte("rubbish"), ReceivedNS: 1}
		stray := answerFrom(HardwareAddr{2, 9})(Frame{SenderMAC: HardwareAddr{2, 0, 0, 0, 0, 1}, TargetIP: netip.MustParseAddr("10.0.0.9"), SenderIP: netip.MustParseAddr("10.0.0.1")})[0]
		conn.received <- Packet{Frame: stray.Bytes(), ReceivedNS: 1}
		records, err := sweepWith(t.Context(), t, Config{Conn: conn, Targets: addrs("10.0.0.9"), Count: 2, Interval: time.Second, Settle: time.Second})
		require.NoError(t, err)
		_, totals := endOf(t, records)
		require.Equal(t, probe.ARPTotals{SendErrors: 2, Replies: 1, Ignored: 1, Malformed: 1, KernelPackets: 9}, totals)
		summary, err := Summarize(records)
		require.NoError(t, err)
		require.Zero(t, summary.VIPs[0].Sent)
		require.Zero(t, summary.VIPs[0].Answered, "a reply to no probe answers none")
		require.Len(t, summary.VIPs[0].Responders, 1)
		summary, err = Summarize(records[:len(records)-1])
		require.NoError(t, err)
		require.False(t, summary.Complete)
	})
}

func TestSourceOfProbes(t *testing.T) {
	bare := Local{Interface: "x0"}
	c := Config{Targets: addrs("10.0.0.9")}
	_, err := c.source(bare)
	require.ErrorContains(t, err, "no IPv4 address")
	c.ProbeMode = true
	source, err := c.source(bare)
	require.NoError(t, err)
	require.True(t, source.IsUnspecified())
	c = Config{Targets: addrs("172.16.0.1")}
	source, err = c.source(newFakeConn(nil).Local())
	require.NoError(t, err)
	require.Equal(t, "192.168.0.1", source.String())
}

// A thousand addresses at a short interval must not flood the segment.
func TestMaxRateBoundsTheFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var targets []netip.Addr
		for i := range 1000 {
			targets = append(targets, netip.AddrFrom4([4]byte{10, 0, byte(1 + i/250), byte(1 + i%250)}))
		}
		records, err := sweepWith(t.Context(), t, Config{
			Conn: newFakeConn(answerFrom(HardwareAddr{2, 9})), Targets: targets, Count: 2, Interval: 10 * time.Millisecond, MaxRate: 500, Settle: time.Second,
		})
		require.NoError(t, err)
		var sent []int64
		for _, r := range records {
			if r.Kind == probe.KindARPProbe {
				p, err := probe.Decode[probe.ARPProbe](r)
				require.NoError(t, err)
				sent = append(sent, p.SentNS)
			}
		}
		require.Len(t, sent, 2000)
		for i := 1; i < len(sent); i++ {
			require.EqualValues(t, 2*time.Millisecond, sent[i]-sent[i-1])
		}
		start, err := probe.Decode[probe.Start](records[0])
		require.NoError(t, err)
		require.Contains(t, string(start.Args), `"intervalNS":2000000000`, "what was done, not what was asked for")
		summary, err := Summarize(records)
		require.NoError(t, err)
		for _, vip := range summary.VIPs {
			require.Equal(t, 2, vip.Answered)
		}
	})
}

// A machine that is busy sends several probes before it hears the first answer: all of
// them are answered, and none of the answers tells a round trip.
func TestAnswersInABurstAnswerEveryProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		conn := newFakeConn(nil)
		conn.respond = func(q Frame) []Frame {
			if asked++; asked < 4 {
				return nil
			}
			all := answerFrom(HardwareAddr{2, 9}, HardwareAddr{2, 9}, HardwareAddr{2, 9}, HardwareAddr{2, 9})(q)
			asked = 0
			return all
		}
		records, err := sweepWith(t.Context(), t, Config{Conn: conn, Targets: addrs("10.0.0.9"), Count: 8, Interval: time.Second, Settle: time.Second})
		require.NoError(t, err)
		summary, err := Summarize(records)
		require.NoError(t, err)
		require.Equal(t, 8, summary.VIPs[0].Answered)
		require.Equal(t, 8, summary.VIPs[0].Responders[0].Replies)
		require.Zero(t, summary.VIPs[0].Responders[0].RoundTripNS)
	})
}
