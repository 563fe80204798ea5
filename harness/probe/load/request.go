// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// answer is what a successful request brought.
type answer struct {
	identity *probe.Identity // who answered; nil in mode tcp-connect
	local    string          // our address of the connection, also of a failed one where there was one
}

// requester does one request. It is bounded by its context's deadline.
type requester interface {
	do(ctx context.Context) (answer, error)
	close()
}

// newRequester returns the requester for one target.
func newRequester(c Config, address string) requester {
	switch c.Mode {
	case probe.ModeTCPConnect:
		return connectRequester{c.Dial, address}
	case probe.ModeUDPEcho:
		return &udpRequester{c.Dial, address, bytes.Repeat([]byte{'x'}, c.Payload)}
	default:
		return &httpRequester{dial: c.Dial, address: address, keep: c.Mode == probe.ModeHTTPKeepalive}
	}
}

// guard makes a connection obey a context; the returned func ends that.
func guard(ctx context.Context, conn net.Conn) (release func() bool) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // fails only on a closed connection, and then so does the next read
	}
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

type connectRequester struct {
	dial    DialFunc
	address string
}

func (connectRequester) close() {}

func (r connectRequester) do(ctx context.Context) (answer, error) {
	conn, err := r.dial(ctx, "tcp", r.address)
	if err != nil {
		return answer{}, err
	}
	resetOnClose(conn)
	a := answer{local: conn.LocalAddr().String()}
	_ = conn.Close() // connected is all that was asked
	return a, nil
}

type udpRequester struct {
	dial    DialFunc
	address string
	payload []byte
}

func (*udpRequester) close() {}

func (r *udpRequester) do(ctx context.Context) (answer, error) {
	conn, err := r.dial(ctx, "udp", r.address)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	defer guard(ctx, conn)()
	a := answer{local: conn.LocalAddr().String()}
	if _, err := conn.Write(r.payload); err != nil {
		return a, err
	}
	buffer := make([]byte, 4096)
	n, err := conn.Read(buffer)
	if err != nil {
		return a, err
	}
	if a.identity, err = parseIdentity(buffer[:n]); err != nil {
		return a, err
	}
	if a.identity.Length != len(r.payload) {
		return a, fmt.Errorf("%w: backend received %d of %d bytes", errBadResponse, a.identity.Length, len(r.payload))
	}
	return a, nil
}

// httpRequester speaks HTTP/1.1 on its own connections. net/http's client would
// silently retry a request whose kept-alive connection was reset, and so hide
// the very thing a failover test is after.
type httpRequester struct {
	dial    DialFunc
	address string
	keep    bool

	mu   sync.Mutex
	idle []*httpConn // the last used first: few connections stay in use
}

type httpConn struct {
	net.Conn
	reader *bufio.Reader
}

func (r *httpRequester) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.idle {
		_ = conn.Close()
	}
	r.idle = nil
}

func (r *httpRequester) take(ctx context.Context) (*httpConn, error) {
	r.mu.Lock()
	if n := len(r.idle); n > 0 {
		conn := r.idle[n-1]
		r.idle = r.idle[:n-1]
		r.mu.Unlock()
		return conn, nil
	}
	r.mu.Unlock()
	conn, err := r.dial(ctx, "tcp", r.address)
	if err != nil {
		return nil, err
	}
	resetOnClose(conn)
	return &httpConn{conn, bufio.NewReader(conn)}, nil
}

func (r *httpRequester) do(ctx context.Context) (answer, error) {
	conn, err := r.take(ctx)
	if err != nil {
		return answer{}, err
	}
	a := answer{local: conn.LocalAddr().String()}
	release := guard(ctx, conn)
	var reusable bool
	a.identity, reusable, err = r.exchange(ctx, conn)
	if stopped := release(); err != nil || !r.keep || !reusable || !stopped {
		_ = conn.Close()
		return a, err
	}
	r.mu.Lock()
	r.idle = append(r.idle, conn)
	r.mu.Unlock()
	return a, nil
}

// maxBody bounds an answer in bytes; an identity has a few hundred.
const maxBody = 64 << 10

func (r *httpRequester) exchange(ctx context.Context, conn *httpConn) (*probe.Identity, bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.address+"/", nil)
	if err != nil {
		return nil, false, fmt.Errorf("build request: %w", err)
	}
	request.Close = !r.keep
	request.Header.Set("User-Agent", "lbprobe")
	if err := request.Write(conn); err != nil {
		return nil, false, fmt.Errorf("write request: %w", err)
	}
	response, err := http.ReadResponse(conn.reader, request)
	if err != nil {
		if Classify(err) == probe.ErrorOther { // not the network's: what was read is no HTTP
			err = fmt.Errorf("%w: %w", errBadResponse, err)
		}
		return nil, false, fmt.Errorf("read response: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	_ = response.Body.Close()
	if err != nil {
		return nil, false, fmt.Errorf("read body: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, false, fmt.Errorf("%w: status %s", errBadResponse, response.Status)
	}
	identity, err := parseIdentity(body)
	return identity, !response.Close, err
}

func parseIdentity(body []byte) (*probe.Identity, error) {
	var identity probe.Identity
	if err := json.Unmarshal(body, &identity); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadResponse, err)
	}
	if identity.Pod == "" && identity.Host == "" || identity.Peer == "" {
		return nil, fmt.Errorf("%w: no identity in the answer", errBadResponse)
	}
	return &identity, nil
}
