// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package request

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// head is the head of an HTTP answer.
type head struct {
	plain  bool  // one that is told here; every other is net/http's
	size   int   // in bytes, with its empty line
	length int64 // of the body
	keep   bool  // the connection stays open
}

var statusOK = []byte("HTTP/1.1 200 OK\r\n")

// parseHead reads the head of the answer nearly every request gets: status 200, a
// Content-Length, nothing that changes how the body is framed (RFC 9112, section 6). It
// tells whether the head is whole; one that is not of this kind is not plain, and is
// left to net/http. At tens of thousands of answers a second that would be most of the
// client's work.
func parseHead(b []byte) (h head, whole bool) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return head{}, false
	}
	if !bytes.HasPrefix(b, statusOK) {
		return head{}, true
	}
	h = head{size: end + 4, length: -1, keep: true}
	lines := b[len(statusOK)-2 : end] // from the status line's own CRLF
	for len(lines) > 0 {
		lines = lines[2:]
		line := lines
		if i := bytes.Index(lines, []byte("\r\n")); i >= 0 {
			line = lines[:i]
		}
		lines = lines[len(line):]
		if !h.field(line) {
			return head{}, true
		}
	}
	h.plain = h.length >= 0
	return h, true
}

// field takes one header line, and tells whether the head may still be plain.
func (h *head) field(line []byte) bool {
	name, value, found := bytes.Cut(line, []byte{':'})
	if !found || len(name) == 0 || !plainText(name, true) || !plainText(value, false) {
		return false
	}
	value = bytes.Trim(value, " \t")
	switch {
	case bytes.EqualFold(name, []byte("content-length")):
		// 18 digits cannot overflow.
		if h.length >= 0 || len(value) == 0 || len(value) > 18 {
			return false
		}
		n, err := strconv.ParseUint(string(value), 10, 63)
		h.length = int64(n)
		return err == nil
	case bytes.EqualFold(name, []byte("connection")):
		h.keep = h.keep && bytes.EqualFold(value, []byte("keep-alive"))
		return true
	default:
		return !bytes.EqualFold(name, []byte("transfer-encoding"))
	}
}

// plainText tells whether a field has only printable ASCII, as a name without spaces.
func plainText(b []byte, name bool) bool {
	for _, c := range b {
		if c > '~' || c < ' ' && c != '\t' || name && !nameByte(c) {
			return false
		}
	}
	return true
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// identityMemo remembers the last identity of a connection. The backend of a connection
// says the same each time but for its clock, so that most bodies need not be decoded.
type identityMemo struct {
	before, after []byte // of the body, around the clock's text
	identity      *probe.Identity
}

var clockKey = []byte(`"time":"`)

// parse reads an identity; the one it returns may be that of an earlier answer, whose
// Time is then that one's.
func (m *identityMemo) parse(body []byte) (*probe.Identity, error) {
	from, to := clockSpan(body)
	if m.identity != nil && from > 0 && bytes.Equal(body[:from], m.before) && bytes.Equal(body[to:], m.after) {
		return m.identity, nil
	}
	identity, err := ParseIdentity(body)
	m.identity = nil
	if err == nil && from > 0 {
		m.before = append(m.before[:0], body[:from]...)
		m.after = append(m.after[:0], body[to:]...)
		m.identity = identity
	}
	return identity, err
}

// clockSpan finds the text of the clock: the value of the key time, made of the
// characters that RFC 3339 has. 0 is none.
func clockSpan(body []byte) (from, to int) {
	at := bytes.Index(body, clockKey)
	if at < 0 {
		return 0, 0
	}
	from = at + len(clockKey)
	for to = from; to < len(body); to++ {
		switch c := body[to]; {
		case c == '"':
			return from, to
		case c >= '0' && c <= '9', c == '-', c == ':', c == '.', c == 'T', c == 'Z', c == '+':
		default:
			return 0, 0
		}
	}
	return 0, 0
}

// ParseIdentity reads what serve answers. The error wraps ErrBadResponse.
func ParseIdentity(body []byte) (*probe.Identity, error) {
	var identity probe.Identity
	if err := json.Unmarshal(body, &identity); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadResponse, err)
	}
	if identity.Pod == "" && identity.Host == "" || identity.Peer == "" {
		return nil, fmt.Errorf("%w: no identity in the answer", ErrBadResponse)
	}
	return &identity, nil
}
