// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"bytes"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

func TestSummarize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		require.NoError(t, Run(t.Context(), Config{
			Mode: probe.ModeHTTPNew, Targets: oneTarget, Rate: 100, Count: 300, Warmup: 100, Timeout: 500 * time.Millisecond,
			Sleep: time.Sleep, Dial: pipeServer(time.Now(), 2*time.Second, 2605*time.Millisecond),
		}, stream.NewWriter(&out)))
		whole := bytes.Clone(out.Bytes())
		records, err := stream.Read(&out)
		require.NoError(t, err)
		s, err := Summarize(records)
		require.NoError(t, err)
		require.True(t, s.Complete)
		require.EqualValues(t, 289, s.Totals.OK, "those due in the first 110 ms of the stall were not answered in time")
		require.EqualValues(t, 11, s.Targets[0].Errors[probe.ErrorTimeout].Count)
		require.Equal(t, 289, s.Targets[0].Backends["p"].Responses)
		require.EqualValues(t, 189, s.Targets[0].Latency[probe.HistogramResponse].Count)
		var table bytes.Buffer
		require.NoError(t, Table(&table, s))
		require.Contains(t, table.String(), "vip: 289 of 300 requests ok, 11 failed, 0 not sent, 0 cut off, 0 late")
		require.Contains(t, table.String(), "the first 100 are warm-up")
		require.Contains(t, table.String(), `answered by p on "n": 289, who saw 10.0.0.1 (289)`)

		torn := whole[:bytes.LastIndexByte(whole[:len(whole)-1], '\n')+1]
		records, err = stream.Read(bytes.NewReader(torn))
		require.ErrorIs(t, err, stream.ErrIncomplete)
		s, err = Summarize(records)
		require.NoError(t, err)
		require.False(t, s.Complete)
		_, err = Summarize([]probe.Record{{Seq: 9, Kind: probe.KindLoadError, Body: json.RawMessage("1")}})
		require.ErrorContains(t, err, "record 9")
	})
}

func TestShort(t *testing.T) {
	for ns, want := range map[int64]string{0: "0s", 999: "999ns", 1234: "1.23µs", 1234567: "1.23ms", 123456789012: "2m3.46s"} {
		require.Equal(t, want, short(ns))
	}
}
