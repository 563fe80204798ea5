// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

func TestCaptureIsWrittenAsPcapng(t *testing.T) {
	var records bytes.Buffer
	for i, body := range []any{
		probe.Start{},
		probe.CaptureFrame{AtNS: 1_500_000_000_000_000_000, Length: 90, Data: []byte("frame one")},
		probe.CaptureFrame{AtNS: 1_500_000_000_000_001_000, Length: 9, Data: []byte("frame two")},
		probe.End{},
	} {
		raw, err := json.Marshal(body)
		require.NoError(t, err)
		kind := []string{probe.KindStart, probe.KindCaptureFrame, probe.KindCaptureFrame, probe.KindEnd}[i]
		line, err := json.Marshal(probe.Record{Seq: int64(i + 1), Kind: kind, Body: raw})
		require.NoError(t, err)
		records.Write(append(line, '\n'))
	}
	dir := filepath.Join(t.TempDir(), "captures")
	for range 2 { // each phase has a file of its own
		require.NoError(t, writePcapng(dir, records.Bytes()))
	}
	for _, name := range []string{"reply-path-1.pcapng", "reply-path-2.pcapng"} {
		f, err := os.Open(filepath.Join(dir, name))
		require.NoError(t, err)
		defer f.Close()
		r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
		require.NoError(t, err)
		data, info, err := r.ReadPacketData()
		require.NoError(t, err)
		require.Equal(t, "frame one", string(data))
		require.Equal(t, 90, info.Length)
		require.True(t, info.Timestamp.Equal(time.Unix(1_500_000_000, 0)))
		_, info, err = r.ReadPacketData()
		require.NoError(t, err)
		require.Equal(t, time.Microsecond, info.Timestamp.Sub(time.Unix(1_500_000_000, 0)))
	}
}

func TestFirstLineTellsWhenItIsWhole(t *testing.T) {
	var out bytes.Buffer
	f := &firstLine{out: &out, seen: make(chan struct{})}
	_, err := f.Write([]byte(`{"seq":1`))
	require.NoError(t, err)
	select {
	case <-f.seen:
		t.Fatal("half a line is none")
	default:
	}
	for range 2 {
		_, err = f.Write([]byte("}\n"))
		require.NoError(t, err)
	}
	<-f.seen
	require.Equal(t, out.Bytes(), f.text())
}
