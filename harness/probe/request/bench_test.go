// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package request

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// BenchmarkKeepalive is a request on a kept-alive connection over loopback; the server
// is part of the time, and allocates nothing.
func BenchmarkKeepalive(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer listener.Close()
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(anIdentity), anIdentity)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				buffer := make([]byte, 1024)
				for {
					if _, err := conn.Read(buffer); err != nil {
						return
					}
					if _, err := conn.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	r, err := New(Config{Mode: probe.ModeHTTPKeepalive, Address: listener.Addr().String()})
	require.NoError(b, err)
	defer r.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Do(b.Context(), time.Now().Add(time.Second)); err != nil {
			b.Fatal(err)
		}
	}
}
