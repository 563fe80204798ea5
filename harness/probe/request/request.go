// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package request does one request to a backend: a TCP handshake, HTTP/1.1 on a new or a
// kept-alive connection, or a datagram and its answer. What asks, and when, is the
// caller's business.
package request

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// Answer is what a request brought.
type Answer struct {
	Identity *probe.Identity // who answered, not to be changed: requests share it; nil where the answer does not say
	Local    string          // our address of the connection, also of a failed one where there was one
}

// Requester does requests to one address. Do may be called from many goroutines.
type Requester interface {
	// Do does one request. It ends at the deadline with an error that Classify calls a
	// timeout, and when ctx does. Context and deadline are apart because a run has one
	// context and a request each its own deadline: a context for each would cost more
	// than the request.
	Do(ctx context.Context, deadline time.Time) (Answer, error)
	Close()
}

// Config says what a request is.
type Config struct {
	Mode          string     // a probe.Mode constant
	Address       string     // host:port
	Payload       int        // bytes of an udp-echo datagram
	ResponseBytes int        // of an http answer, from GET /bytes; 0: the identity, from GET /
	Source        netip.Addr // our own address; zero: the kernel's choice
	Dial          DialFunc   // how to connect; nil: from the namespace of the process, bound to Source
}

// DialFunc opens a connection, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// New returns the requester of a mode.
func New(c Config) (Requester, error) {
	if c.Dial == nil {
		c.Dial = Dialer(c.Source)
	}
	switch c.Mode {
	case probe.ModeTCPConnect:
		return connectRequester{c.Dial, c.Address}, nil
	case probe.ModeUDPEcho:
		return &udpRequester{c.Dial, c.Address, bytes.Repeat([]byte{'x'}, c.Payload)}, nil
	case probe.ModeHTTPNew, probe.ModeHTTPKeepalive:
		return newHTTP(c), nil
	default:
		return nil, fmt.Errorf("unknown mode %q", c.Mode)
	}
}

// dial connects within the deadline. The returned func releases the connection from
// ctx, and tells whether ctx has not ended it.
func dial(ctx context.Context, how DialFunc, network, address string, deadline time.Time) (net.Conn, func() bool, error) {
	limited, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	conn, err := how(limited, network, address)
	if err != nil {
		return nil, nil, err
	}
	_ = conn.SetDeadline(deadline) // fails only on a closed connection, and then so does the next read
	return conn, context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }), nil
}

type connectRequester struct {
	dial    DialFunc
	address string
}

func (connectRequester) Close() {}

func (r connectRequester) Do(ctx context.Context, deadline time.Time) (Answer, error) {
	conn, release, err := dial(ctx, r.dial, "tcp", r.address, deadline)
	if err != nil {
		return Answer{}, err
	}
	release()
	resetOnClose(conn)
	a := Answer{Local: conn.LocalAddr().String()}
	_ = conn.Close() // connected is all that was asked
	return a, nil
}

type udpRequester struct {
	dial    DialFunc
	address string
	payload []byte
}

func (*udpRequester) Close() {}

func (r *udpRequester) Do(ctx context.Context, deadline time.Time) (Answer, error) {
	conn, release, err := dial(ctx, r.dial, "udp", r.address, deadline)
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	defer release()
	a := Answer{Local: conn.LocalAddr().String()}
	if _, err := conn.Write(r.payload); err != nil {
		return a, err
	}
	var buffer [2048]byte
	n, err := conn.Read(buffer[:])
	if err != nil {
		return a, err
	}
	if a.Identity, err = ParseIdentity(buffer[:n]); err != nil {
		return a, err
	}
	if a.Identity.Length != len(r.payload) {
		return a, fmt.Errorf("%w: backend received %d of %d bytes", ErrBadResponse, a.Identity.Length, len(r.payload))
	}
	return a, nil
}
