// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package stream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

func endOf(t *testing.T, out *bytes.Buffer) probe.End {
	t.Helper()
	records, err := stream.Read(bytes.NewReader(out.Bytes()))
	require.NoError(t, err)
	end, err := probe.Decode[probe.End](records[len(records)-1])
	require.NoError(t, err)
	return end
}

func TestSessionNumbersConcurrentRecords(t *testing.T) {
	var out bytes.Buffer
	w := stream.NewWriter(&out)
	err := w.Session(t.Context(), probe.Start{Instrument: "test"}, probe.ARPArgs{Count: 7}, func(context.Context) (any, error) {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { _ = w.Emit("x", 1) })
		}
		wg.Wait()
		return probe.ARPTotals{Sent: 3}, nil
	})
	require.NoError(t, err)
	records, err := stream.Read(&out)
	require.NoError(t, err)
	require.Len(t, records, 52)
	start, err := probe.Decode[probe.Start](records[0])
	require.NoError(t, err)
	require.Equal(t, "test", start.Instrument)
	require.Positive(t, start.MonotonicNS)
	require.Contains(t, string(start.Args), `"count":7`)
	end, err := probe.Decode[probe.End](records[51])
	require.NoError(t, err)
	require.Equal(t, probe.ReasonDone, end.Reason)
	require.Contains(t, string(end.Totals), `"sent":3`)
	require.ErrorIs(t, w.Emit("x", 1), stream.ErrEnded)
}

func TestSessionEndsOnEveryPath(t *testing.T) {
	untilDone := func(ctx context.Context) (any, error) { <-ctx.Done(); return 1, ctx.Err() }
	boom := errors.New("boom")
	for _, test := range []struct {
		name, reason string
		lifetime     func(context.Context) (context.Context, context.CancelFunc)
		work         func(context.Context) (any, error)
		err          error
	}{
		{"error", probe.ReasonError, nil, func(context.Context) (any, error) { return nil, boom }, boom},
		{"stdin", probe.ReasonStdinClosed, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return stream.Lifetime(ctx, strings.NewReader("noise"), 0)
		}, untilDone, nil},
		{"deadline", probe.ReasonDeadline, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return stream.Lifetime(ctx, nil, time.Minute)
		}, untilDone, nil},
		{"cancelled", probe.ReasonCancelled, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := stream.Lifetime(ctx, nil, time.Minute)
			cancel()
			return ctx, cancel
		}, untilDone, nil},
		{"cause", probe.ReasonDeadline, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return stream.Lifetime(ctx, nil, time.Second)
		}, func(ctx context.Context) (any, error) { <-ctx.Done(); return nil, context.Cause(ctx) }, nil},
		{"failed after the end", probe.ReasonError, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return stream.Lifetime(ctx, nil, time.Second)
		}, func(ctx context.Context) (any, error) { <-ctx.Done(); return nil, boom }, boom},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if test.lifetime != nil {
					var cancel context.CancelFunc
					ctx, cancel = test.lifetime(ctx)
					defer cancel()
				}
				var out bytes.Buffer
				err := stream.NewWriter(&out).Session(ctx, probe.Start{}, nil, test.work)
				require.ErrorIs(t, err, test.err)
				end := endOf(t, &out)
				require.Equal(t, test.reason, end.Reason)
				require.Equal(t, test.reason == probe.ReasonError, end.Error != "")
			})
		})
	}
}

func TestSessionEndsOnPanic(t *testing.T) {
	var out bytes.Buffer
	require.PanicsWithValue(t, "ouch", func() {
		_ = stream.NewWriter(&out).Session(t.Context(), probe.Start{}, nil, func(context.Context) (any, error) { panic("ouch") })
	})
	require.Equal(t, probe.ReasonError, endOf(t, &out).Reason)
}

func TestSessionEndsWhenTotalsCannotBeEncoded(t *testing.T) {
	var out bytes.Buffer
	err := stream.NewWriter(&out).Session(t.Context(), probe.Start{}, nil, func(context.Context) (any, error) { return func() {}, nil })
	require.ErrorContains(t, err, "encode totals")
	require.Equal(t, probe.ReasonError, endOf(t, &out).Reason)
}

type brokenAfter struct {
	lines int
	err   error
}

func (b *brokenAfter) Write(p []byte) (int, error) {
	if b.lines--; b.lines < 0 {
		return 0, b.err
	}
	return len(p), nil
}

func TestWriteErrorEndsTheWork(t *testing.T) {
	w := stream.NewWriter(&brokenAfter{2, io.ErrClosedPipe})
	err := w.Session(t.Context(), probe.Start{}, nil, func(ctx context.Context) (any, error) {
		require.NoError(t, w.Emit("x", 1))
		require.ErrorIs(t, w.Emit("x", 2), io.ErrClosedPipe)
		<-ctx.Done() // hangs, unless the failed write cancelled it
		return nil, context.Cause(ctx)
	})
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

func TestReadRefusesLostRecords(t *testing.T) {
	start, end := `{"seq":1,"kind":"start","body":{}}`, `{"seq":3,"kind":"end","body":{"records":3}}`
	for name, lines := range map[string][]string{
		"empty":         {},
		"no start":      {`{"seq":1,"kind":"x","body":{}}`},
		"no end":        {start, `{"seq":2,"kind":"x","body":{}}`},
		"gap":           {start, end},
		"torn":          {start, `{"seq":2,"ki`},
		"wrong total":   {start, `{"seq":2,"kind":"end","body":{"records":9}}`},
		"after the end": {start, `{"seq":2,"kind":"end","body":{"records":2}}`, `{"seq":3,"kind":"x","body":{}}`},
		"second start":  {start, `{"seq":2,"kind":"start","body":{}}`, end},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := stream.Read(strings.NewReader(strings.Join(lines, "\n")))
			require.ErrorIs(t, err, stream.ErrIncomplete)
		})
	}
	_, err := stream.Read(strings.NewReader(strings.Join([]string{start, `{"seq":2,"kind":"x","body":{}}`, end}, "\n")))
	require.NoError(t, err)
}
