// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/latency"
)

// The intervals of a log add up to the run's histograms, and two logs to those of both.
func TestHDRLogMerges(t *testing.T) {
	var logs, both bytes.Buffer
	want := map[string]*hdrhistogram.Histogram{}
	for run := range 2 {
		synctest.Test(t, func(t *testing.T) {
			logs.Reset()
			r, err := runLoad(t.Context(), t, Config{
				Mode: probe.ModeHTTPKeepalive, Targets: []probe.LoadTarget{{Name: "vip", Address: "10.0.0.9:80"}, {Name: "nodeport", Address: "10.0.0.8:80"}},
				Rate: 100, Duration: 5500 * time.Millisecond, Warmup: 50, Sleep: time.Sleep,
				Dial: pipeServer(time.Now(), 2*time.Second, time.Duration(2300+run*100)*time.Millisecond), HDRLog: &logs,
			})
			require.NoError(t, err)
			merged, err := MergeLog(bytes.NewReader(logs.Bytes()))
			require.NoError(t, err)
			require.Len(t, merged, 6)
			for tag, body := range r.histograms {
				decoded, err := hdrhistogram.Decode([]byte(body.HDR))
				require.NoError(t, err)
				require.EqualValues(t, 250, body.Count)
				require.True(t, decoded.Equals(merged[tag]), tag)
				if want[tag] == nil {
					want[tag] = latency.NewHistogram()
				}
				want[tag].Merge(decoded)
			}
			require.Equal(t, 6*6, bytes.Count(logs.Bytes(), []byte("Tag=")), "six intervals, the last one short")
		})
		both.Write(logs.Bytes())
	}
	merged, err := MergeLog(&both)
	require.NoError(t, err)
	for tag, h := range want {
		require.True(t, h.Equals(merged[tag]), tag)
	}
}

func TestHDRLogRefusesTags(t *testing.T) {
	_, err := Config{
		Mode: probe.ModeHTTPNew, Targets: []probe.LoadTarget{{Name: "a b", Address: "x:1"}}, Rate: 1, HDRLog: &bytes.Buffer{},
	}.withDefaults()
	require.ErrorContains(t, err, "tag")
}

// Whatever a log holds, it is read or refused.
func FuzzMergeLog(f *testing.F) {
	var log bytes.Buffer
	h := latency.NewHistogram()
	require.NoError(f, h.RecordValue(1e6))
	h.SetTag("vip/response")
	w := hdrhistogram.NewHistogramLogWriter(&log)
	require.NoError(f, w.OutputLogFormatVersion())
	require.NoError(f, w.OutputStartTime(1_700_000_000_000))
	require.NoError(f, w.OutputIntervalHistogram(h))
	require.NoError(f, w.OutputIntervalHistogram(h))
	f.Add(log.Bytes())
	f.Add([]byte("#[StartTime: 1\nTag=x\n\n0,1,2,HIST"))
	f.Fuzz(func(t *testing.T, in []byte) {
		merged, err := MergeLog(bytes.NewReader(in))
		if (err == nil) != (merged != nil) {
			t.Fatalf("%v and %v", merged, err)
		}
	})
}
