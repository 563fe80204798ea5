// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package watch

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/request"
)

// echo is one connection.
type echo struct {
	net.Conn
	reader   *bufio.Reader
	backend  string
	openedAt time.Time
	answered int64
}

// sendBuffer holds what TCP has not got rid of while the path is silent, in bytes: some
// ten seconds of the fastest probes.
const sendBuffer = 1 << 20

// errSilent ends a connection that nothing came back on.
var errSilent = errors.New("nothing came back")

func (l *long) connect(ctx context.Context) (*echo, error) {
	deadline := time.Now().Add(l.config.Timeout)
	limited, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	conn, err := l.dial(limited, "tcp", l.config.Long)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // less is only less patient
	}
	_ = conn.SetDeadline(deadline) // fails only on a closed connection, and then so does the read
	reader := bufio.NewReader(conn)
	greeting, err := reader.ReadSlice('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read greeting: %w", err), conn.Close())
	}
	identity, err := request.ParseIdentity(greeting)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	_ = conn.SetDeadline(time.Time{})
	return &echo{Conn: conn, reader: reader, backend: cmp.Or(identity.Pod, identity.Host), openedAt: time.Now()}, nil
}

// retryAfter is how long after a connection could not be had the next is tried at least.
const retryAfter = 10 * time.Millisecond

// receive takes what comes back, and connects again where there is no connection.
func (l *long) receive(ctx context.Context) error {
	for {
		l.mu.Lock()
		conn, ending := l.conn, l.ending
		l.mu.Unlock()
		if conn == nil {
			if ending {
				return nil
			}
			if err := l.reconnect(ctx); err != nil {
				return err
			}
			continue
		}
		err, fatal := l.read(conn)
		if fatal != nil {
			return fatal
		}
		if err := l.lose(conn, err); err != nil {
			return err
		}
	}
}

// opened tells of a connection, before it can be lost.
func (l *long) opened(conn *echo) error {
	return l.emit(probe.KindWatchConnection, probe.WatchConnection{
		Event: "open", AtNS: since(l.start, conn.openedAt), Local: conn.LocalAddr().String(), Backend: conn.backend,
	})
}

// reconnect tries once to get a connection. The error is of a record that could not be
// written.
func (l *long) reconnect(ctx context.Context) error {
	conn, why := l.connect(ctx)
	if conn != nil {
		if err := l.opened(conn); err != nil {
			return errors.Join(err, conn.Close())
		}
	}
	l.mu.Lock()
	l.conn, l.why = conn, why
	if conn != nil && l.ending {
		_ = conn.Close()
	}
	l.mu.Unlock()
	if why != nil {
		select {
		case <-time.After(max(retryAfter, l.config.Interval)):
		case <-ctx.Done():
		}
	}
	return nil
}

// read takes echoes until the connection ends, and says why it did. The second error is
// of a result that could not be recorded.
func (l *long) read(conn *echo) (why, fatal error) {
	var frame [8]byte
	for {
		l.mu.Lock()
		if !l.ending {
			_ = conn.SetReadDeadline(time.Now().Add(l.config.Reconnect)) // as above
		} else if len(l.pending) == 0 {
			l.mu.Unlock()
			return io.EOF, nil
		}
		l.mu.Unlock()
		if _, err := io.ReadFull(conn.reader, frame[:]); err != nil {
			if request.Classify(err) == probe.ErrorTimeout {
				err = fmt.Errorf("%w for %s: %w", errSilent, l.config.Reconnect, err)
			}
			return fmt.Errorf("read: %w", err), nil
		}
		if why, fatal = l.echoed(conn, int64(binary.BigEndian.Uint64(frame[:]))); why != nil || fatal != nil {
			return why, fatal
		}
	}
}

// echoed takes one number that came back.
func (l *long) echoed(conn *echo, number int64) (why, fatal error) {
	at := time.Now()
	l.mu.Lock()
	conn.answered++
	if len(l.pending) == 0 || number < l.pending[0].Probe {
		l.mu.Unlock()
		return nil, nil // back after its time: it has failed already
	}
	p := l.pending[0]
	if number != p.Probe {
		l.mu.Unlock()
		return fmt.Errorf("%w: number %d came back where %d was due", request.ErrBadResponse, number, p.Probe), nil
	}
	l.pending = l.pending[1:]
	l.mu.Unlock()
	p.EndNS = since(l.start, at)
	if p.EndNS-p.SentNS > l.config.Timeout.Nanoseconds() {
		return nil, l.fail(p, errTimeout, at)
	}
	p.OK = true
	return nil, l.tracker.tell(p)
}
