// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package request

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// httpRequester speaks HTTP/1.1 on its own connections. net/http's client would
// silently retry a request whose kept-alive connection was reset, and so hide
// the very thing a failover test is after.
type httpRequester struct {
	dial    DialFunc
	address string
	keep    bool
	bytes   int    // wanted of the body; 0: an identity
	request []byte // the same for all

	mu   sync.Mutex
	idle []*httpConn // the last used first: few connections stay in use
}

// httpConn is one connection, used by one request at a time.
type httpConn struct {
	net.Conn
	release func() bool // from the run's context
	local   string
	buffer  []byte // what was read and not used yet is buffer[:have]
	have    int
	memo    identityMemo
}

// bufferSize of a connection takes the head and the identity at once.
const bufferSize = 4 << 10

// maxBody bounds an identity in bytes; it has a few hundred.
const maxBody = 64 << 10

func newHTTP(c Config) *httpRequester {
	r := &httpRequester{dial: c.Dial, address: c.Address, keep: c.Mode == probe.ModeHTTPKeepalive, bytes: c.ResponseBytes}
	path := "/"
	if r.bytes > 0 {
		path = "/bytes?n=" + strconv.Itoa(r.bytes)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: lbprobe\r\n", path, c.Address)
	if !r.keep {
		b.WriteString("Connection: close\r\n")
	}
	b.WriteString("\r\n")
	r.request = b.Bytes()
	return r
}

func (r *httpRequester) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.idle {
		conn.close()
	}
	r.idle = nil
}

func (c *httpConn) close() {
	c.release()
	_ = c.Close()
}

// take gives an idle connection, or a new one where there is none.
func (r *httpRequester) take(ctx context.Context, deadline time.Time) (*httpConn, error) {
	r.mu.Lock()
	if n := len(r.idle); n > 0 {
		conn := r.idle[n-1]
		r.idle = r.idle[:n-1]
		r.mu.Unlock()
		_ = conn.SetDeadline(deadline)
		if ctx.Err() != nil { // it may have ended before the deadline was set
			_ = conn.SetDeadline(time.Unix(1, 0))
		}
		return conn, nil
	}
	r.mu.Unlock()
	conn, release, err := dial(ctx, r.dial, "tcp", r.address, deadline)
	if err != nil {
		return nil, err
	}
	resetOnClose(conn)
	return &httpConn{Conn: conn, release: release, local: conn.LocalAddr().String(), buffer: make([]byte, bufferSize)}, nil
}

func (r *httpRequester) Do(ctx context.Context, deadline time.Time) (Answer, error) {
	conn, err := r.take(ctx, deadline)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Local: conn.local}
	var reusable bool
	a.Identity, reusable, err = r.exchange(conn)
	if err != nil || !r.keep || !reusable || ctx.Err() != nil {
		conn.close()
		return a, err
	}
	r.mu.Lock()
	r.idle = append(r.idle, conn)
	r.mu.Unlock()
	return a, nil
}

// exchange sends the request and reads its answer. The connection can be used again
// when the peer does not close it and has not said more than it was asked for.
func (r *httpRequester) exchange(conn *httpConn) (*probe.Identity, bool, error) {
	if _, err := conn.Write(r.request); err != nil {
		return nil, false, fmt.Errorf("write request: %w", err)
	}
	var h head
	var readErr error
	for whole := false; !whole && readErr == nil && conn.have < len(conn.buffer); {
		var n int
		n, readErr = conn.Read(conn.buffer[conn.have:])
		conn.have += n
		h, whole = parseHead(conn.buffer[:conn.have])
	}
	switch {
	case conn.have == 0:
		return nil, false, fmt.Errorf("read response: %w", readErr)
	case !h.plain:
		return r.exchangeGeneral(conn, readErr)
	}
	if r.bytes > 0 || h.length > int64(len(conn.buffer)-h.size) {
		return r.exchangeLong(conn, h)
	}
	end := h.size + int(h.length)
	for conn.have < end {
		n, err := conn.Read(conn.buffer[conn.have:])
		if conn.have += n; err != nil && conn.have < end {
			return nil, false, fmt.Errorf("read body: %w", unexpected(err))
		}
	}
	identity, err := conn.memo.parse(conn.buffer[h.size:end])
	reusable := h.keep && conn.have == end
	conn.have = 0
	return identity, reusable, err
}

// exchangeLong reads a body of a known length that does not fit the buffer, or that is
// no identity.
func (r *httpRequester) exchangeLong(conn *httpConn, h head) (*probe.Identity, bool, error) {
	if r.bytes == 0 {
		if h.length > maxBody {
			return nil, false, fmt.Errorf("%w: a body of %d bytes", ErrBadResponse, h.length)
		}
		body := make([]byte, h.length)
		n := copy(body, conn.buffer[h.size:conn.have])
		conn.have = 0
		if _, err := io.ReadFull(conn, body[n:]); err != nil {
			return nil, false, fmt.Errorf("read body: %w", unexpected(err))
		}
		identity, err := ParseIdentity(body)
		return identity, h.keep, err
	}
	if h.length != int64(r.bytes) {
		return nil, false, fmt.Errorf("%w: a body of %d bytes, want %d", ErrBadResponse, h.length, r.bytes)
	}
	left := h.length - int64(conn.have-h.size)
	conn.have = 0
	for left > 0 {
		n, err := conn.Read(conn.buffer)
		if left -= int64(n); err != nil && left > 0 {
			return nil, false, fmt.Errorf("read body: %w", unexpected(err))
		}
	}
	return nil, h.keep && left == 0, nil
}

// exchangeGeneral has net/http read an answer that is anything but plain.
func (r *httpRequester) exchangeGeneral(conn *httpConn, readErr error) (*probe.Identity, bool, error) {
	var rest io.Reader = conn
	if readErr != nil {
		rest = failedReader{readErr}
	}
	reader := bufio.NewReader(io.MultiReader(bytes.NewReader(conn.buffer[:conn.have]), rest))
	conn.have = 0
	request := &http.Request{Method: http.MethodGet}
	response, err := http.ReadResponse(reader, request)
	if err != nil {
		if Classify(err) == probe.ErrorOther { // not the network's: what was read is no HTTP
			err = fmt.Errorf("%w: %w", ErrBadResponse, err)
		}
		return nil, false, fmt.Errorf("read response: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, false, fmt.Errorf("%w: status %s", ErrBadResponse, response.Status)
	}
	limit := max(maxBody, int64(r.bytes)) + 1
	var body bytes.Buffer
	if r.bytes > 0 {
		n, err := io.Copy(io.Discard, io.LimitReader(response.Body, limit))
		_ = response.Body.Close()
		if err == nil && n != int64(r.bytes) {
			err = fmt.Errorf("%w: a body of %d bytes, want %d", ErrBadResponse, n, r.bytes)
		}
		return nil, err == nil && !response.Close && reader.Buffered() == 0, err
	}
	_, err = io.Copy(&body, io.LimitReader(response.Body, limit))
	_ = response.Body.Close()
	if err != nil {
		return nil, false, fmt.Errorf("read body: %w", err)
	}
	identity, err := ParseIdentity(body.Bytes())
	return identity, err == nil && !response.Close && reader.Buffered() == 0, err
}

// failedReader goes on failing as a connection did: asked again, it may say otherwise.
type failedReader struct{ err error }

func (r failedReader) Read([]byte) (int, error) { return 0, r.err }

// unexpected makes an end in the middle of a body one.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
