// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package request

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const anIdentity = `{"pod":"p","node":"n","host":"h","protocol":"http","peer":"10.0.0.1:5","local":"10.0.0.2:80","time":"2026-01-02T03:04:05.678Z","length":0,"path":"/"}`

func TestParseHead(t *testing.T) {
	for text, want := range map[string]head{
		"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n":                            {plain: true, size: 39, length: 12, keep: true},
		"HTTP/1.1 200 OK\r\ncontent-length:3 \r\nConnection: close\r\n\r\nab":      {plain: true, size: 57, length: 3},
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n":   {plain: true, size: 62, length: 0, keep: true},
		"HTTP/1.1 200 OK\r\n\r\n":                                                  {size: 19, length: -1, keep: true},
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n":        {},
		"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n":                            {},
		"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n":           {},
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r": {},
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n":                    {},
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n folded: x\r\n\r\n":               {},
		"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n":                             {},
		"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\n":                      {},
	} {
		got, _ := parseHead([]byte(text))
		require.Equal(t, want, got, "%q", text)
	}
	_, whole := parseHead([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"))
	require.False(t, whole)
}

// Whatever is told here is what net/http tells.
func FuzzParseHead(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\n\r\n{}"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		h, whole := parseHead(answer)
		if !whole || !h.plain {
			return
		}
		response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), &http.Request{Method: http.MethodGet})
		if err != nil {
			t.Fatalf("net/http says %v of %q", err, answer)
		}
		if response.StatusCode != http.StatusOK || response.ContentLength != h.length || len(response.TransferEncoding) > 0 {
			t.Fatalf("%d bytes, net/http says %d of %q", h.length, response.ContentLength, answer)
		}
		if h.keep && response.Close {
			t.Fatalf("kept, net/http says closed: %q", answer)
		}
		body, err := io.ReadAll(response.Body)
		if ours := answer[h.size:]; err == nil && !bytes.Equal(body, ours[:h.length]) {
			t.Fatalf("body %q, net/http says %q", ours[:h.length], body)
		}
	})
}

func TestIdentityMemo(t *testing.T) {
	var m identityMemo
	first, err := m.parse([]byte(anIdentity))
	require.NoError(t, err)
	require.Equal(t, "p", first.Pod)
	later := bytes.Replace([]byte(anIdentity), []byte("05.678Z"), []byte("06Z"), 1)
	again, err := m.parse(later)
	require.NoError(t, err)
	require.Same(t, first, again, "only the clock differs")
	other, err := m.parse(bytes.Replace(later, []byte(`"pod":"p"`), []byte(`"pod":"q"`), 1))
	require.NoError(t, err)
	require.Equal(t, "q", other.Pod)
	_, err = m.parse([]byte("{}"))
	require.ErrorIs(t, err, ErrBadResponse)
	back, err := m.parse([]byte(anIdentity))
	require.NoError(t, err)
	require.Equal(t, "p", back.Pod)
}

// A memory of one body never changes what another one says, its clock aside.
func FuzzIdentityMemo(f *testing.F) {
	f.Add([]byte(anIdentity), []byte(anIdentity))
	f.Add([]byte(anIdentity), []byte(`{"pod":"\"time\":\"","peer":"x","time":"1"}`))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		var m identityMemo
		_, _ = m.parse(one)
		got, err := m.parse(two)
		want, wantErr := ParseIdentity(two)
		if from, _ := clockSpan(two); from > 0 && err == nil && wantErr != nil {
			return // an impossible clock, in a body that is otherwise the same
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%v, alone %v", err, wantErr)
		}
		if err != nil {
			return
		}
		a, b := *got, *want
		a.Time, b.Time = time.Time{}, time.Time{}
		if a != b {
			t.Fatalf("%+v, alone %+v", a, b)
		}
	})
}

func BenchmarkIdentity(b *testing.B) {
	var m identityMemo
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.parse([]byte(anIdentity)); err != nil {
			b.Fatal(err)
		}
	}
}
