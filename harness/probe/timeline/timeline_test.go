// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package timeline

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// history is a probe every millisecond: '.' succeeded, 'x' failed, 'd' was not sent.
func history(text string) []probe.WatchProbe {
	var out []probe.WatchProbe
	for i, c := range text {
		out = append(out, probe.WatchProbe{
			Traffic: probe.TrafficNew, Probe: int64(i), OK: c == '.', Dropped: c == 'd', SentNS: int64(i+1) * 1e6,
			ErrorKind: map[bool]string{true: probe.ErrorTimeout}[c == 'x'],
		})
	}
	return out
}

func TestOutages(t *testing.T) {
	for text, want := range map[string][][3]int64{ // from, to in ms, failed
		"":                {},
		".....":           {},
		"..xxx...":        {{3, 6, 3}},
		"x...":            {{1, 2, 1}},
		"..x..x...":       {{3, 7, 2}},            // two successes are too few
		"..x...x...":      {{3, 4, 1}, {7, 8, 1}}, // three end it
		"..xx":            {{3, 100, 2}},
		"..xx..":          {{3, 100, 2}},
		"..xx.d..":        {{3, 100, 2}}, // what was not sent breaks the row
		"..xx.d...":       {{3, 7, 2}},
		"..dd...":         {},
		"xd...":           {{1, 3, 1}},
		"...xxx..x.x....": {{4, 12, 5}},
	} {
		got := Outages(history(text), 3, 100e6)
		require.Len(t, got, len(want), text)
		for i, o := range got {
			require.Equal(t, want[i], [3]int64{o.FromNS / 1e6, o.ToNS / 1e6, int64(o.Failed)}, text)
			require.Equal(t, o.ToNS != 100e6, o.Ended, text)
			require.Equal(t, o.ToNS-o.FromNS, o.LengthNS)
			require.Equal(t, map[string]int{probe.ErrorTimeout: o.Failed}, o.Errors)
		}
		longest, total := Longest(got)
		require.LessOrEqual(t, longest, total)
	}
	require.EqualValues(t, 2e6, Outages(history("..xxx..."), 3, 0)[0].LastOKNS)
	require.Zero(t, Outages(history("xxx..."), 3, 0)[0].LastOKNS)
	require.Zero(t, Outages(history("xxx..."), 3, 0)[0].AtMostNS)
	require.Zero(t, Outages(history("..xxx"), 3, 9e6)[0].AtMostNS)
	certain := Outages(history("..xx.x..."), 3, 0)[0]
	require.Equal(t, [3]int64{3e6, 4e6, 5e6}, [3]int64{certain.AtLeastNS, certain.LengthNS, certain.AtMostNS})
}

// Elided is what watch writes of a history: all but the successes that are far from a
// failure.
func elided(all []probe.WatchProbe, n int) []probe.WatchProbe {
	var out []probe.WatchProbe
	row := n
	for i, p := range all {
		switch {
		case !p.OK:
			row = 0
			out = append(out, p)
		case row < n:
			row++
			out = append(out, p)
		case i+1 < len(all) && !all[i+1].OK:
			out = append(out, p)
		}
	}
	return out
}

// What is not written changes nothing, outages are disjoint and in order, and every
// failed probe lies in one.
func TestOutagesOfElidedHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune("......xxd")), 0, 200, -1).Draw(t, "history")
		n := rapid.IntRange(1, 6).Draw(t, "n")
		all := history(text)
		end := int64(len(all)+1) * 1e6
		whole, some := Outages(all, n, end), Outages(elided(all, n), n, end)
		a, _ := json.Marshal(whole)
		b, _ := json.Marshal(some)
		if !bytes.Equal(a, b) {
			t.Fatalf("%s, elided %s", a, b)
		}
		at := int64(0)
		for _, o := range whole {
			if o.FromNS < at || o.ToNS <= o.FromNS || o.LastOKNS >= o.FromNS {
				t.Fatalf("%+v after %d", o, at)
			}
			if o.AtLeastNS > o.LengthNS || o.AtMostNS != 0 && o.AtMostNS < o.LengthNS {
				t.Fatalf("%+v", o)
			}
			at = o.ToNS
		}
		for _, p := range all {
			inside := slices.ContainsFunc(whole, func(o Outage) bool { return o.FromNS <= p.SentNS && p.SentNS < o.ToNS })
			if !p.OK && !p.Dropped && !inside {
				t.Fatalf("probe %d failed in none of %s", p.Probe, a)
			}
		}
		// One more failure never makes less of an outage.
		if i := rapid.IntRange(0, max(0, len(all)-1)).Draw(t, "worse"); len(all) > 0 {
			_, before := Longest(whole)
			all[i].OK, all[i].Dropped = false, false
			if _, after := Longest(Outages(all, n, end)); after < before {
				t.Fatalf("probe %d failed too: %d, was %d", i, after, before)
			}
		}
	})
}

var vip = netip.MustParseAddr("10.0.0.9")

// rows are a probe every millisecond, and who answered it: a letter is a MAC, a capital
// letter both of them, '-' is nobody.
func rows(text string) []probe.WatchResponder {
	var out []probe.WatchResponder
	for i, c := range text {
		who := map[rune][]string{'a': {"a"}, 'b': {"b"}, 'B': {"a", "b"}, 'C': {"b", "a"}, 'c': {"c"}}[c]
		for k, mac := range who {
			at := int64(i)*1e6 + int64(k+1)*1000
			if n := len(out) - 1; n >= 0 && out[n].MAC == mac && at-out[n].LastNS < 3e6 {
				out[n].LastProbe, out[n].LastNS = int64(i), at
				out[n].Replies++
				continue
			}
			out = append(out, probe.WatchResponder{VIP: vip, MAC: mac, FirstProbe: int64(i), LastProbe: int64(i), FirstNS: at, LastNS: at, Replies: 1})
		}
	}
	return out
}

func TestOverlaps(t *testing.T) {
	for text, want := range map[string][][2]int64{ // from in ms, probes
		"":                 {},
		"aaaa":             {},
		"aaaabbbb":         {},                // a clean handover
		"aaaa----bbbb":     {},                // a slower one
		"aaaaBbbbb":        {{4, 1}},          // one probe was answered by both
		"aaBBBBbb":         {{2, 4}},          //
		"abababab":         {{1, 6}},          // in turns
		"aaaBaaaaaaaaBaaa": {{3, 1}, {12, 1}}, // a rare second one
		"aaabaaa":          {{3, 1}},          // a answers again
		"aaa-----b-----aa": {},                // there and back, cleanly
		"CCCC":             {{0, 4}},
		"abcabcabc":        {{1, 6}, {2, 5}, {2, 6}},
	} {
		got := Overlaps(Spans(rows(text), 3*time.Millisecond))
		require.Len(t, got, len(want), "%s: %+v", text, got)
		for i, o := range got {
			require.Equal(t, want[i], [2]int64{o.FromNS / 1e6, o.Probes}, "%s: %+v", text, o)
			require.GreaterOrEqual(t, o.LengthNS, int64(0))
			require.Less(t, o.MACs[0], o.MACs[1])
		}
	}
}

// The order of the rows does not matter, a probe answered by two is in an overlap, and
// one more answer of another MAC never makes an overlap go away.
func TestOverlapsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune("aaaabbBC-c")), 0, 100, -1).Draw(t, "answers")
		join := time.Duration(rapid.IntRange(0, 5).Draw(t, "join")) * time.Millisecond
		all := rows(text)
		want := Overlaps(Spans(all, join))
		shuffled := rapid.Permutation(all).Draw(t, "shuffled")
		if got := Overlaps(Spans(shuffled, join)); !slices.Equal(got, want) {
			t.Fatalf("%+v, in order %+v", got, want)
		}
		for i, c := range text {
			inside := slices.ContainsFunc(want, func(o Overlap) bool {
				return o.Probes > 0 && o.FromNS <= int64(i)*1e6+2000 && o.ToNS >= int64(i)*1e6+1000
			})
			if (c == 'B' || c == 'C') && !inside {
				t.Fatalf("probe %d was answered by two, in none of %+v", i, want)
			}
		}
		replies := 0
		for _, s := range Spans(all, join) {
			replies += s.Replies
		}
		for _, r := range all {
			replies -= r.Replies
		}
		if replies != 0 {
			t.Fatalf("%d answers were lost or made", replies)
		}
		foreign := probe.WatchResponder{VIP: vip, MAC: "z", FirstProbe: 0, LastProbe: int64(len(text)), FirstNS: 0, LastNS: int64(len(text)) * 1e6, Replies: 2}
		more := Overlaps(Spans(append(all, foreign), join))
		for _, o := range want {
			if !slices.Contains(more, o) {
				t.Fatalf("%+v is gone", o)
			}
		}
	})
}

func TestReadTorn(t *testing.T) {
	var out bytes.Buffer
	w := stream.NewWriter(&out)
	require.NoError(t, w.Emit(probe.KindWatchProbe, probe.WatchProbe{Traffic: "new"}))
	records, err := stream.Read(&out)
	require.ErrorIs(t, err, stream.ErrIncomplete)
	got, err := Read(records)
	require.NoError(t, err)
	require.False(t, got.Complete)
	_, err = Read([]probe.Record{{Seq: 3, Kind: probe.KindWatchBucket, Body: json.RawMessage(`1`)}, {Seq: 4, Kind: probe.KindWatchProbe, Body: json.RawMessage(`1`)}})
	require.ErrorContains(t, err, "record 4 (watch.probe)")
}

// Rows of each family are joined over its own grace, and two MACs of an IPv6 address
// overlap as those of an IPv4 address do.
func TestReadBothFamilies(t *testing.T) {
	var out bytes.Buffer
	w := stream.NewWriter(&out)
	four, six := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("fd00::9")
	args := probe.WatchArgs{Traffic: []probe.WatchTraffic{
		{Traffic: probe.TrafficARP, Target: four.String(), TimeoutNS: 5, Passive: true}, {Traffic: probe.TrafficNDP, Target: six.String(), TimeoutNS: 50, Passive: true},
	}}
	require.NoError(t, w.Session(t.Context(), probe.Start{Instrument: "watch"}, args, func(context.Context) (any, error) {
		for _, vip := range []netip.Addr{four, six} {
			for _, at := range []struct {
				mac string
				ns  int64
			}{{"a", 1}, {"b", 20}, {"a", 40}} {
				err := w.Emit(probe.KindWatchResponder, probe.WatchResponder{VIP: vip, MAC: at.mac, FirstProbe: -1, LastProbe: -1, FirstNS: at.ns, LastNS: at.ns, Replies: 1})
				require.NoError(t, err)
			}
		}
		return probe.WatchTotals{}, w.Emit(probe.KindNDPUnsolicited, probe.NDPUnsolicited{Address: six, EthernetSource: "b", ReceivedNS: 19})
	}))
	records, err := stream.Read(&out)
	require.NoError(t, err)
	got, err := Read(records)
	require.NoError(t, err)
	spans := map[netip.Addr]int{}
	for _, s := range got.Responders {
		spans[s.VIP]++
	}
	require.Equal(t, map[netip.Addr]int{four: 3, six: 2}, spans)
	require.Equal(t, []Overlap{{VIP: six, MACs: [2]string{"a", "b"}, FromNS: 20, ToNS: 20}}, got.Overlaps)
	require.Len(t, got.Unsolicited, 1)
	var text bytes.Buffer
	require.NoError(t, Table(&text, got))
	require.Contains(t, text.String(), "advertised  b says that fd00::9 is at it")
}

// Whatever the lines are, they are read or refused, and what is read is consistent.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"seq":1,"kind":"start","body":{"args":{"traffic":[{"traffic":"new"},{"traffic":"arp","timeoutNS":5}],"recovered":2}}}
{"seq":2,"kind":"watch.probe","body":{"traffic":"new","probe":3,"sentNS":5,"errorKind":"reset"}}
{"seq":3,"kind":"watch.responder","body":{"vip":"10.0.0.9","mac":"a","firstNS":1,"lastNS":9,"replies":2}}
{"seq":4,"kind":"watch.responder","body":{"vip":"10.0.0.9","mac":"b","firstNS":2,"lastNS":3,"replies":2}}
{"seq":5,"kind":"ndp.unsolicited","body":{"address":"fd00::9","ethernetSource":"b","receivedNS":3}}
{"seq":6,"kind":"end","body":{"records":6,"reason":"done","totals":{"traffic":{"new":{"probes":4}}}}}
`))
	f.Fuzz(func(t *testing.T, lines []byte) {
		records, streamErr := stream.Read(bytes.NewReader(lines))
		got, err := Read(records)
		if err != nil {
			return
		}
		if got.Complete && streamErr != nil {
			t.Fatalf("complete, although %v", streamErr)
		}
		for _, traffic := range got.Traffic {
			for _, o := range traffic.Outages {
				if o.Failed < 1 {
					t.Fatalf("an outage without a failure: %+v", o)
				}
			}
		}
		for _, o := range got.Overlaps {
			if o.MACs[0] == o.MACs[1] {
				t.Fatalf("one MAC overlaps itself: %+v", o)
			}
		}
		if _, err := json.Marshal(got); err != nil {
			t.Fatal(err)
		}
	})
}
