// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package watch

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/probe/timeline"
)

// recorded is what was emitted.
type recorded struct {
	t       interface{ Fatal(...any) }
	buckets []probe.WatchBucket
	probes  []probe.WatchProbe
	rows    []probe.WatchResponder
	notices []probe.ARPGratuitous
	heard   []probe.NDPUnsolicited
}

func (r *recorded) emit(_ string, body any) error {
	switch b := body.(type) {
	case probe.WatchBucket:
		r.buckets = append(r.buckets, b)
	case probe.WatchProbe:
		r.probes = append(r.probes, b)
	case probe.WatchResponder:
		r.rows = append(r.rows, b)
	case probe.ARPGratuitous:
		r.notices = append(r.notices, b)
	case probe.NDPUnsolicited:
		r.heard = append(r.heard, b)
	}
	return nil
}

// In whatever order probes end, their records tell the same outages as all of them
// would, and the buckets hold every probe.
func TestTrackerTellsAllOutages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{Recovered: rapid.IntRange(1, 5).Draw(t, "recovered"), Bucket: 10 * time.Millisecond}
		start := time.Unix(1000, 0)
		var all []probe.WatchProbe
		text := rapid.StringOfN(rapid.SampledFrom([]rune("........xxd")), 0, 150, -1).Draw(t, "history")
		for i, what := range text {
			due := start.Add(time.Duration(i) * time.Millisecond).UnixNano()
			p := probe.WatchProbe{Traffic: probe.TrafficNew, Probe: int64(i), OK: what == '.', Dropped: what == 'd', DueNS: due}
			if !p.Dropped {
				p.SentNS, p.EndNS = due, due+1000
			}
			if what == 'x' {
				p.ErrorKind = probe.ErrorTimeout
			}
			all = append(all, p)
		}
		r := &recorded{t: t}
		tracker := newTracker(c, probe.TrafficNew, start, r.emit)
		for _, p := range rapid.Permutation(all).Draw(t, "order") {
			if err := tracker.tell(p); err != nil {
				t.Fatal(err)
			}
		}
		counts, err := tracker.finish()
		if err != nil {
			t.Fatal(err)
		}
		end := start.Add(time.Second).UnixNano()
		want, got := timeline.Outages(all, c.Recovered, end), timeline.Outages(r.probes, c.Recovered, end)
		if len(want) != len(got) {
			t.Fatalf("%+v, of all %+v", got, want)
		}
		for i := range want {
			if want[i].FromNS != got[i].FromNS || want[i].ToNS != got[i].ToNS || want[i].LastOKNS != got[i].LastOKNS || want[i].Failed != got[i].Failed {
				t.Fatalf("%+v, of all %+v", got[i], want[i])
			}
		}
		var sum probe.WatchCounts
		for _, b := range r.buckets {
			if b.Probes != b.OK+b.Failed+b.Dropped {
				t.Fatalf("%+v", b)
			}
			sum.Probes += int64(b.Probes)
			sum.OK += int64(b.OK)
			sum.Failed += int64(b.Failed)
			sum.Dropped += int64(b.Dropped)
		}
		if sum != counts || counts.Probes != int64(len(all)) {
			t.Fatalf("buckets %+v, totals %+v, of %d", sum, counts, len(all))
		}
		if n := len(r.probes); n > 0 && counts.Failed+counts.Dropped == 0 {
			t.Fatalf("%d records of healthy probes", n)
		}
	})
}

var (
	vip    = netip.MustParseAddr("10.0.0.9")
	asker  = arp.HardwareAddr{2, 0, 0, 0, 0, 1}
	first  = arp.HardwareAddr{2, 0, 0, 0, 0, 2}
	second = arp.HardwareAddr{2, 0, 0, 0, 0, 3}
)

func reply(from, to arp.HardwareAddr) []byte {
	return arp.Frame{
		EthernetDestination: to, EthernetSource: from, Op: arp.OpReply, SenderMAC: from, SenderIP: vip, TargetMAC: to, TargetIP: netip.IPv4Unspecified(),
	}.Bytes()
}

// script drives answers by a clock of its own: a probe every interval, each answered by
// who is given after its delay.
type script struct {
	*recorded
	*answers
	start time.Time
}

func newScript(t interface{ Fatal(...any) }, grace time.Duration) script {
	c := Config{Recovered: 3, Bucket: 100 * time.Millisecond, ARP: ARP{VIP: vip, Grace: grace}}
	start := time.Unix(1000, 0)
	r := &recorded{t: t}
	return script{r, newAnswers(c, asker, newTracker(c, probe.TrafficARP, start, r.emit), r.emit), start}
}

type event struct {
	at    time.Duration
	probe int64 // or -1
	from  arp.HardwareAddr
}

func (s script) play(events []event) {
	slices.SortStableFunc(events, func(a, b event) int { return int(a.at - b.at) })
	for _, e := range events {
		at := s.start.Add(e.at)
		var err error
		if e.probe >= 0 {
			err = s.expire(at)
			s.sent(probe.WatchProbe{Probe: e.probe, DueNS: at.UnixNano(), SentNS: at.UnixNano()})
		} else {
			err = s.received(arp.Packet{Frame: reply(e.from, asker), ReceivedNS: at.UnixNano()})
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.end(s.start.Add(time.Hour)); err != nil {
		s.t.Fatal(err)
	}
	if err := s.answers.flush(); err != nil {
		s.t.Fatal(err)
	}
}

// Answers that are slower than the probes are no failures as long as they keep coming,
// and a silence is measured to within two intervals and what the answers' delay varies.
func TestSilenceIsMeasured(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		interval := time.Duration(rapid.IntRange(1, 20).Draw(t, "interval ms")) * time.Millisecond
		grace := max(50*time.Millisecond, 2*interval)
		slowest := rapid.IntRange(1, 15).Draw(t, "slowest ms")
		const n = 400
		dead := rapid.IntRange(50, 300).Draw(t, "dead from")
		silence := time.Duration(rapid.SampledFrom([]int{0, 10, 1000, 3000}).Draw(t, "silence ms")) * time.Millisecond
		from := time.Duration(dead) * interval
		var events []event
		for i := range n {
			at := time.Duration(i) * interval
			delay := time.Duration(rapid.IntRange(0, slowest*1000).Draw(t, "delay us")) * time.Microsecond
			events = append(events, event{at, int64(i), first})
			if arrives := at + delay; at < from || at >= from+silence {
				events = append(events, event{arrives, -1, first})
			}
		}
		s := newScript(t, grace)
		s.play(events)
		outages := timeline.Outages(s.probes, 1, s.start.Add(n*interval).UnixNano())
		switch {
		case silence <= grace/2-time.Duration(slowest)*time.Millisecond:
			if len(outages) > 0 {
				t.Fatalf("answers up to %d ms late were taken for a failure: %+v", slowest, outages)
			}
		case silence > grace+time.Duration(slowest)*time.Millisecond && from+silence < (n-1)*interval:
			if len(outages) != 1 {
				t.Fatalf("a silence of %s: %+v", silence, outages)
			}
			slack := 2*interval + time.Duration(slowest)*time.Millisecond
			if got := time.Duration(outages[0].LengthNS); got < silence-slack || got > silence+slack {
				t.Fatalf("a silence of %s was measured as %s", silence, got)
			}
		}
	})
}

func TestAnswersOfTwo(t *testing.T) {
	s := newScript(t, 50*time.Millisecond)
	var events []event
	for i := range int64(300) {
		at := time.Duration(i) * 10 * time.Millisecond
		events = append(events, event{at, i, first})
		if i < 200 {
			events = append(events, event{at + 100*time.Microsecond, -1, first})
		}
		if i >= 190 {
			events = append(events, event{at + 300*time.Microsecond, -1, second})
		}
	}
	s.play(events)
	require.Empty(t, s.probes)
	spans := timeline.Spans(s.recorded.rows, 50*time.Millisecond)
	require.Len(t, spans, 2)
	require.Equal(t, [2]int{200, 110}, [2]int{spans[0].Replies, spans[1].Replies})
	overlaps := timeline.Overlaps(spans)
	require.Len(t, overlaps, 1)
	require.EqualValues(t, 10, overlaps[0].Probes)
	require.EqualValues(t, (199-190)*10*time.Millisecond-200*time.Microsecond, overlaps[0].LengthNS)
	require.Equal(t, 300, s.buckets[0].Probes+sum(s.buckets[1:])+int(s.tracker.bucket.Probes))
}

func sum(buckets []probe.WatchBucket) (n int) {
	for _, b := range buckets {
		n += b.Probes
	}
	return n
}

func TestGratuitousIsNoAnswer(t *testing.T) {
	s := newScript(t, 50*time.Millisecond)
	notice := arp.Frame{
		EthernetDestination: arp.Broadcast(), EthernetSource: first, Op: arp.OpRequest, SenderMAC: first, SenderIP: vip, TargetIP: vip,
	}.Bytes()
	require.NoError(t, s.received(arp.Packet{Frame: notice, ReceivedNS: 5}))
	require.NoError(t, s.received(arp.Packet{Frame: []byte("short"), ReceivedNS: 6}))
	require.NoError(t, s.received(arp.Packet{Frame: reply(second, first), ReceivedNS: 7}), "an answer to somebody else")
	s.play(nil)
	require.Len(t, s.notices, 1)
	require.Equal(t, "request", s.notices[0].Op)
	require.Len(t, s.recorded.rows, 1)
	require.EqualValues(t, -1, s.recorded.rows[0].FirstProbe)
}

func TestLocallyAdministered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mac := arp.HardwareAddr(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac"))
		own := locallyAdministered(mac)
		if own == mac || own[0]&0x03 != 0x02 || !bytes.Equal(own[1:], mac[1:]) {
			t.Fatalf("%s of %s", own, mac)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	for name, c := range map[string]Config{
		"nothing":   {},
		"address":   {New: "nowhere"},
		"mode":      {New: "x:1", Mode: probe.ModeUDPEcho},
		"interval":  {New: "x:1", Interval: time.Microsecond},
		"negative":  {New: "x:1", Timeout: -1},
		"bucket":    {New: "x:1", Bucket: time.Microsecond},
		"payload":   {UDP: "x:1", Payload: 1 << 20},
		"vip":       {ARP: ARP{VIP: netip.MustParseAddr("::1"), Interface: "eth0"}},
		"interface": {ARP: ARP{VIP: vip}},
		"ipv4":      {NDP: NDP{VIP: vip, Interface: "eth0"}},
		"group":     {NDP: NDP{VIP: netip.MustParseAddr("ff02::1"), Interface: "eth0"}},
		"no link":   {NDP: NDP{VIP: netip.MustParseAddr("fd00::1")}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.Error(t, Run(context.Background(), c, stream.NewWriter(&out)))
			_, err := stream.Read(&out)
			require.NoError(t, err, "even this run has its end record")
		})
	}
}
