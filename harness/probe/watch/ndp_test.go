// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package watch

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
	"github.com/lbmatrix/lbmatrix/harness/probe/ndp"
	"github.com/lbmatrix/lbmatrix/harness/probe/timeline"
)

// What is heard is sorted into announcements and rows of answers; what no host may take,
// and what is of another address, is neither.
func TestAdvertisementsAreSorted(t *testing.T) {
	six, client := netip.MustParseAddr("fd00::40"), netip.MustParseAddr("fd00::1")
	grace := 50 * time.Millisecond
	r := &recorded{t: t}
	a := &advertisements{vip: six, emit: r.emit, rows: rows{grace: grace, emit: r.emit}}
	now := time.Unix(1000, 0)
	hear := func(after time.Duration, vlan int, frame []byte) {
		t.Helper()
		now = now.Add(after)
		require.NoError(t, a.received(ether.Packet{Frame: frame, ReceivedNS: now.UnixNano(), VLAN: vlan}))
	}
	answer := advertisement(six, first, asker, client)
	other, foreign, nameless, plain, announced := answer, answer, answer, answer, answer
	other.LinkAddress, other.EthernetSource = second, second
	foreign.Target = client
	nameless.HasLinkAddress, nameless.EthernetSource = false, second
	plain.Solicited = false
	announced.Solicited, announced.Destination, announced.Router = false, netip.MustParseAddr("ff02::1"), true
	broken := answer.Bytes()
	broken[len(broken)-1]++ // the checksum is wrong now
	question := ndp.Frame{Source: client, Destination: six, Type: ndp.TypeSolicitation, Target: six}

	hear(0, 0, answer.Bytes())
	hear(grace, 0, plain.Bytes()) // forgets the flag, and is an answer all the same
	hear(0, 0, foreign.Bytes())
	hear(0, 0, broken)
	hear(0, 0, question.Bytes())
	hear(0, 0, announced.Bytes())
	hear(time.Millisecond, 0, other.Bytes())
	hear(time.Millisecond, 0, nameless.Bytes())
	hear(time.Millisecond, 7, other.Bytes())
	hear(time.Millisecond, 0, answer.Bytes())
	hear(2*grace, 0, answer.Bytes())
	require.NoError(t, a.rows.write())

	require.Len(t, r.heard, 1)
	require.Equal(t, [2]string{six.String(), first.String()}, [2]string{r.heard[0].Address.String(), r.heard[0].TargetMAC})
	require.True(t, r.heard[0].Router)
	require.Equal(t, 1, a.unsolicited)
	type row struct {
		mac           string
		vlan, replies int
	}
	var got []row
	for _, w := range r.rows {
		require.EqualValues(t, -1, w.FirstProbe)
		require.EqualValues(t, -1, w.LastProbe)
		got = append(got, row{w.MAC, w.VLAN, w.Replies})
	}
	require.Equal(t, []row{
		{first.String(), 0, 2}, {second.String(), 0, 2}, {second.String(), 7, 1}, {first.String(), 0, 1}, {first.String(), 0, 1},
	}, got)
	require.Equal(t, len(got), a.rows.n)
	spans := timeline.Spans(r.rows, grace)
	require.Len(t, spans, 3, "the first, the second, and the first again after a gap")
	overlaps := timeline.Overlaps(spans)
	require.Len(t, overlaps, 1)
	require.EqualValues(t, 2*time.Millisecond, overlaps[0].LengthNS)
}
