// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/pattern"
)

// datagram sends a datagram from a new port and waits for it to come back. Each has other
// bytes than the ones before, so that none passes for another.
func datagram(ctx context.Context, t probe.ExchangeTarget, number int, result *probe.ExchangeResult) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", t.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	result.Local = conn.LocalAddr().String()
	sent := make([]byte, t.Bytes)
	copy(sent, probe.EchoPrefix)
	pattern.Fill(sent[len(probe.EchoPrefix):], int64(number)<<16)
	if _, err := conn.Write(sent); err != nil {
		return fmt.Errorf("send %d bytes: %w", t.Bytes, err)
	}
	buffer := make([]byte, maxDatagram+1)
	n, err := conn.Read(buffer)
	if err != nil {
		return fmt.Errorf("wait for %d bytes: %w", t.Bytes, err)
	}
	if !bytes.Equal(buffer[:n], sent) {
		return fmt.Errorf("%w: %d bytes came back for %d, or others", errCorrupt, n, t.Bytes)
	}
	result.Received = int64(n)
	return nil
}

// response asks for a body on a new connection and reads it to its end. The transport is
// one request's: net/http repeats a request only on a connection that it kept.
func response(ctx context.Context, t probe.ExchangeTarget, result *probe.ExchangeResult) error {
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, network, address)
			if err == nil {
				result.Local = conn.LocalAddr().String()
			}
			return conn, err
		},
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.Address+"/bytes?n="+strconv.Itoa(t.Bytes), nil)
	if err != nil {
		return fmt.Errorf("build request: %w", err)
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("read response: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: status %s", errCorrupt, answer.Status)
	}
	return body(answer.Body, int64(t.Bytes), result)
}

// body holds what is read to the pattern, and to its length.
func body(r io.Reader, want int64, result *probe.ExchangeResult) error {
	buffer := make([]byte, 256<<10)
	for {
		n, err := r.Read(buffer)
		if at := pattern.Check(buffer[:n], result.Received); at >= 0 {
			return fmt.Errorf("%w: byte %d of the body is another", errCorrupt, result.Received+int64(at))
		}
		result.Received += int64(n)
		switch {
		case errors.Is(err, io.EOF) && result.Received == want:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: the body has %d bytes and not %d", errCorrupt, result.Received, want)
		case err != nil:
			return fmt.Errorf("read body after %d of %d bytes: %w", result.Received, want, err)
		}
	}
}
