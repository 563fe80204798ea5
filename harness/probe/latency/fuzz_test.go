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

// headerLen is the header of an uncompressed histogram: cookie, length of the counts, offset,
// digits, range and ratio (HdrHistogram's V2 format).
const headerLen = 40

// A histogram of a journal that was torn or forged is read or refused. What is changed are the
// counts, below the compression, whose checksum would refuse nearly everything; a range of
// another's choosing costs a table that wide, and says nothing more.
func FuzzRanks(f *testing.F) {
	l := New()
	for i := range 500 {
		require.NoError(f, l.Record(time.Duration(i)*time.Microsecond))
	}
	body, err := l.Body("vip", "response")
	require.NoError(f, err)
	encoded, err := base64.StdEncoding.DecodeString(body.HDR)
	require.NoError(f, err)
	z, err := zlib.NewReader(bytes.NewReader(encoded[8:]))
	require.NoError(f, err)
	var inner bytes.Buffer
	_, err = inner.ReadFrom(z)
	require.NoError(f, err)
	header := bytes.Clone(inner.Bytes()[:headerLen])
	f.Add(inner.Bytes()[headerLen:], body.Count, body.P50, body.Max)
	f.Add([]byte{}, int64(0), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, counts []byte, count, p50, most int64) {
		binary.BigEndian.PutUint32(header[4:], uint32(len(counts)))
		var packed bytes.Buffer
		z, err := zlib.NewWriterLevel(&packed, zlib.NoCompression) // what compresses costs more than what is tested
		require.NoError(t, err)
		_, err = z.Write(append(bytes.Clone(header), counts...))
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
