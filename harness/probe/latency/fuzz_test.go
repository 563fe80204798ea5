// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package latency

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"
)

// A histogram of a journal that was torn or forged is read or refused. What is changed is
// what lies below the compression, whose checksum would refuse nearly everything.
func FuzzRanks(f *testing.F) {
	l := New()
	for i := range 500 {
		require.NoError(f, l.Record(time.Duration(i)*time.Microsecond))
	}
	body, err := l.Body("vip", "response")
	require.NoError(f, err)
	encoded, err := base64.StdEncoding.DecodeString(string(body.HDR))
	require.NoError(f, err)
	z, err := zlib.NewReader(bytes.NewReader(encoded[8:]))
	require.NoError(f, err)
	var inner bytes.Buffer
	_, err = inner.ReadFrom(z)
	require.NoError(f, err)
	f.Add(inner.Bytes(), body.Count, body.P50, body.Max)
	f.Add([]byte{}, int64(0), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, inner []byte, count, p50, most int64) {
		var packed bytes.Buffer
		z := zlib.NewWriter(&packed)
		_, err := z.Write(inner)
		require.NoError(t, err)
		require.NoError(t, z.Close())
		raw := binary.BigEndian.AppendUint32(nil, uint32(hdrhistogram.V2CompressedEncodingCookieBase|0x10))
		raw = append(binary.BigEndian.AppendUint32(raw, uint32(packed.Len())), packed.Bytes()...)
		changed := body
		changed.HDR, changed.Count, changed.P50, changed.Max = base64.StdEncoding.EncodeToString(raw), count, p50, most
		ranks, err := Ranks(changed)
		if (err == nil) != (ranks != nil) {
			t.Fatalf("%v and %t", err, ranks != nil)
		}
		if err == nil && count > 0 && ranks(0) > ranks(int(count-1)) {
			t.Fatalf("the first of %d samples is %d, the last %d", count, ranks(0), ranks(int(count-1)))
		}
	})
}
