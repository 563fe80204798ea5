// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package probe_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// Stored journals are read for years: a field's name is part of the format.
func TestWireNames(t *testing.T) {
	body, err := json.Marshal(probe.ARPReply{Probe: -1, Target: netip.MustParseAddr("10.0.0.9"), SenderMAC: "a", EthernetSource: "b", SentNS: 1, ReceivedNS: 2})
	require.NoError(t, err)
	record, err := json.Marshal(probe.Record{Seq: 1, Kind: probe.KindARPReply, Time: 3, Body: body})
	require.NoError(t, err)
	require.Equal(t, `{"seq":1,"kind":"arp.reply","time":3,"body":{"probe":-1,"target":"10.0.0.9","senderMAC":"a","ethernetSource":"b","sentNS":1,"receivedNS":2}}`, string(record))
}

func TestEveryFieldHasACamelCaseName(t *testing.T) {
	for _, body := range []any{
		probe.Record{},
		probe.Start{},
		probe.End{},
		probe.ARPArgs{},
		probe.ARPProbe{},
		probe.ARPReply{},
		probe.ARPGratuitous{},
		probe.ARPTotals{},
		probe.LoadArgs{},
		probe.Ramp{},
		probe.LoadStep{},
		probe.RampTotals{},
		probe.LoadTarget{},
		probe.LoadBucket{},
		probe.LoadError{},
		probe.LoadHistogram{},
		probe.LoadPeers{},
		probe.BackendCount{},
		probe.LoadTotals{},
		probe.WatchArgs{},
		probe.WatchTraffic{},
		probe.WatchBucket{},
		probe.WatchProbe{},
		probe.WatchConnection{},
		probe.WatchResponder{},
		probe.WatchTotals{},
		probe.WatchCounts{},
		probe.ServeArgs{},
		probe.ServeTotals{},
		probe.Identity{},
		probe.ForwardArgs{},
		probe.ForwardTotals{},
	} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(body)) {
			if field.Anonymous {
				continue // its fields are the outer one's, and visible themselves
			}
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			require.Regexp(t, `^[a-z][A-Za-z0-9]*$`, name, "%T.%s", body, field.Name)
		}
	}
}

func TestDecode(t *testing.T) {
	body, err := probe.Decode[probe.ARPProbe](probe.Record{Body: json.RawMessage(`{"probe":2,"target":"10.0.0.9","new":1}`)})
	require.NoError(t, err)
	require.Equal(t, 2, body.Probe)
	_, err = probe.Decode[probe.ARPProbe](probe.Record{Seq: 7, Kind: probe.KindARPProbe, Body: json.RawMessage(`{"probe":"x"}`)})
	require.ErrorContains(t, err, "decode record 7 (arp.probe)")
}

func TestBehind(t *testing.T) {
	const half = 0.5
	late := func(n int64) probe.LoadTotals { return probe.LoadTotals{Scheduled: 100, Late: n} }
	require.False(t, late(50).Behind(half))
	require.True(t, late(51).Behind(half))
	require.True(t, probe.LoadTotals{Scheduled: 100, Dropped: 1}.Behind(half), "unsent")
	require.False(t, probe.LoadTotals{}.Behind(half))
	both := probe.LoadTotals{Scheduled: 200, Late: 60, Targets: map[string]probe.LoadTotals{"vip": late(55), "nodeport": late(5)}}
	require.True(t, both.Behind(half), "one target alone")
}
