// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package capture

import (
	"bytes"
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// Of any frames a ring writes the first and the last ones, in order, within its size,
// and counts the rest.
func TestRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(1, SnapLen), 0, 300).Draw(t, "sizes")
		limit := rapid.IntRange(2*SnapLen, 40*SnapLen).Draw(t, "limit")
		var written []int64
		bytes := 0
		r := newRing(limit, func(f probe.CaptureFrame) error {
			written = append(written, f.AtNS)
			bytes += len(f.Data)
			return nil
		})
		total := 0
		for i, size := range sizes {
			total += size
			if err := r.add(probe.CaptureFrame{AtNS: int64(i), Data: make([]byte, size)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.flush(); err != nil {
			t.Fatal(err)
		}
		if bytes > limit || len(written)+r.overwritten != len(sizes) {
			t.Fatalf("%d bytes of %d, %d frames and %d overwritten of %d", bytes, limit, len(written), r.overwritten, len(sizes))
		}
		if total <= limit/2 && r.overwritten > 0 {
			t.Fatalf("%d bytes fit into %d, and %d frames were overwritten", total, limit, r.overwritten)
		}
		gaps := 0
		for i, at := range written {
			if i > 0 && at != written[i-1]+1 {
				gaps++
			}
			if i > 0 && at <= written[i-1] {
				t.Fatalf("frame %d after %d", at, written[i-1])
			}
		}
		if gaps > 1 || len(written) > 0 && (written[0] != 0 || written[len(written)-1] != int64(len(sizes)-1)) {
			t.Fatalf("%d gaps in %v", gaps, written)
		}
	})
}

func TestCaptureSizeIsChecked(t *testing.T) {
	var out bytes.Buffer
	err := Run(context.Background(), Config{Interface: "lo", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, MaxBytes: SnapLen}, stream.NewWriter(&out))
	require.ErrorContains(t, err, "at least")
}
