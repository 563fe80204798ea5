// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package exchange

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/pattern"
)

// datagram sends a datagram and waits for its answer: itself, or an identity. Each that is
// to come back has other bytes than the ones before, so that none passes for another.
//
// The socket is not connected. On one that is the kernel drops an answer from another
// address than was asked, and it would look like a loss.
func (c Config) datagram(ctx context.Context, t probe.ExchangeTarget, number int, result *probe.ExchangeResult) error {
	to, err := net.ResolveUDPAddr("udp4", t.Address)
	if err != nil {
		return err
	}
	var conn *net.UDPConn
	err = c.Inside(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: c.port(number)})
		return err
	})
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
	pattern.Fill(sent, int64(number)<<16)
	if t.Protocol == probe.ExchangeUDP {
		copy(sent, probe.EchoPrefix)
	}
	if _, err := conn.WriteToUDP(sent, to); err != nil {
		return fmt.Errorf("send %d bytes: %w", t.Bytes, err)
	}
	buffer := make([]byte, maxDatagram+1)
	n, from, err := conn.ReadFromUDPAddrPort(buffer)
	switch {
	case err != nil:
		return fmt.Errorf("wait for the answer to %d bytes: %w", t.Bytes, err)
	case unmapped(from) != unmapped(to.AddrPort()):
		return fmt.Errorf("%w: %s was asked and %s answered", errWrongSource, t.Address, from)
	case t.Protocol == probe.ExchangeAsk:
		return identity(buffer[:n], t, result)
	case !bytes.Equal(buffer[:n], sent):
		return fmt.Errorf("%w: %d bytes came back for %d, or others", errCorrupt, n, t.Bytes)
	}
	result.Received = int64(n)
	return nil
}

// unmapped writes an IPv4 address as such, however the kernel or the resolver did.
func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// identity reads a backend's answer: it must have received the whole datagram.
func identity(answer []byte, t probe.ExchangeTarget, result *probe.ExchangeResult) error {
	var id probe.Identity
	if err := json.Unmarshal(answer, &id); err != nil {
		return fmt.Errorf("%w: %w", errCorrupt, err)
	}
	if id.Length != t.Bytes || id.Pod == "" && id.Host == "" {
		return fmt.Errorf("%w: the backend %s received %d of %d bytes", errCorrupt, id.Pod, id.Length, t.Bytes)
	}
	peer, err := netip.ParseAddrPort(id.Peer)
	if err != nil {
		return fmt.Errorf("%w: %w", errCorrupt, err)
	}
	result.Pod, result.Node, result.Peer, result.Received = cmp.Or(id.Pod, id.Host), id.Node, peer.Addr().Unmap().String(), int64(len(answer))
	return nil
}

// response asks for a body on a new connection and reads it to its end. The transport is
// one request's: net/http repeats a request only on a connection that it kept.
func (c Config) response(ctx context.Context, t probe.ExchangeTarget, result *probe.ExchangeResult) error {
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			var conn net.Conn
			err := c.Inside(func() (err error) {
				conn, err = (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, address)
				return err
			})
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
