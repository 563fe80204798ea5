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
	"sync"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/request"
)

// long sends sequence numbers, 8 bytes each, on one connection to a TCP echo. While the
// connection lives, a silence of the path delays what was sent: TCP sends it again. A
// probe that is not back within its timeout failed, even if it arrives later.
type long struct {
	config  Config
	dial    request.DialFunc
	emit    emitFunc
	start   time.Time
	tracker *tracker

	mu      sync.Mutex
	conn    *echo              // nil: none
	why     error              // why there is none
	pending []probe.WatchProbe // sent and not back, oldest first
	ending  bool               // no more is sent
}

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

// openLong connects, so that the first probe finds a connection.
func openLong(ctx context.Context, c Config, emit emitFunc) *long {
	l := &long{config: c, dial: c.Dial, emit: emit}
	if l.dial == nil {
		l.dial = request.Dialer(c.Source)
	}
	l.conn, l.why = l.connect(ctx)
	return l
}

func (l *long) begin(start time.Time) {
	l.start = start
	l.tracker = newTracker(l.config, probe.TrafficLong, start, l.emit)
}

func (l *long) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ending = true
	if l.conn != nil {
		_ = l.conn.Close()
	}
}

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

func (l *long) run(ctx context.Context) error {
	failed := make(chan error, 1)
	sending, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		err := l.receive(ctx)
		if err != nil {
			stop()
		}
		failed <- err
	}()
	err := each(sending, l.config, l.start, l.send)
	l.end()
	return cmp.Or(err, <-failed)
}

// send sends one probe.
func (l *long) send(number int64, due time.Time) error {
	sent := time.Now()
	p := probe.WatchProbe{Probe: number, DueNS: due.UnixNano(), SentNS: since(l.start, sent)}
	if err := l.expire(sent); err != nil {
		return err
	}
	l.mu.Lock()
	conn, why := l.conn, l.why
	if conn != nil {
		p.Local, p.Backend = conn.LocalAddr().String(), conn.backend
		l.pending = append(l.pending, p)
	}
	l.mu.Unlock()
	if conn == nil {
		return l.fail(p, fmt.Errorf("no connection: %w", why), sent)
	}
	var frame [8]byte
	binary.BigEndian.PutUint64(frame[:], uint64(number))
	_ = conn.SetWriteDeadline(sent.Add(l.config.Timeout)) // as above
	if _, err := conn.Write(frame[:]); err != nil {
		return l.lose(conn, fmt.Errorf("write: %w", err))
	}
	return nil
}

// fail tells of a probe that failed.
func (l *long) fail(p probe.WatchProbe, err error, at time.Time) error {
	p.EndNS, p.ErrorKind, p.Message = since(l.start, at), request.Classify(err), err.Error()
	return l.tracker.tell(p)
}

// errTimeout is what a probe fails with that was not back in time.
var errTimeout = fmt.Errorf("not echoed in time: %w", context.DeadlineExceeded)

// expire fails the probes that are not back in time.
func (l *long) expire(now time.Time) error {
	l.mu.Lock()
	before := since(l.start, now.Add(-l.config.Timeout))
	n := 0
	for n < len(l.pending) && l.pending[n].SentNS <= before {
		n++
	}
	expired := l.pending[:n:n]
	l.pending = l.pending[n:]
	l.mu.Unlock()
	for _, p := range expired {
		if err := l.fail(p, errTimeout, now); err != nil {
			return err
		}
	}
	return nil
}

// lose gives a connection up, with all that was sent on it.
func (l *long) lose(conn *echo, why error) error {
	_ = conn.Close()
	now := time.Now()
	l.mu.Lock()
	if l.conn != conn {
		l.mu.Unlock()
		return nil
	}
	l.conn, l.why = nil, why
	lost, ending, answered := l.pending, l.ending, conn.answered
	l.pending = nil
	l.mu.Unlock()
	if ending {
		why = errTimeout // what is left was not back in time; the end of the connection is our own doing
	}
	for _, p := range lost {
		if err := l.fail(p, why, now); err != nil {
			return err
		}
	}
	if ending {
		return nil
	}
	return l.emit(probe.KindWatchConnection, probe.WatchConnection{
		Event: "lost", AtNS: since(l.start, now), Local: conn.LocalAddr().String(), Backend: conn.backend, Answered: answered,
		ErrorKind: request.Classify(why), Message: why.Error(),
	})
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
			if conn = l.reconnect(ctx); conn == nil {
				continue
			}
		}
		if err := l.emit(probe.KindWatchConnection, probe.WatchConnection{
			Event: "open", AtNS: since(l.start, conn.openedAt), Local: conn.LocalAddr().String(), Backend: conn.backend,
		}); err != nil {
			return err
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

func (l *long) reconnect(ctx context.Context) *echo {
	conn, err := l.connect(ctx)
	l.mu.Lock()
	l.conn, l.why = conn, err
	if conn != nil && l.ending {
		_ = conn.Close()
	}
	l.mu.Unlock()
	if err != nil {
		select {
		case <-time.After(max(retryAfter, l.config.Interval)):
		case <-ctx.Done():
		}
	}
	return conn
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

// end lets what was sent come back within its timeout.
func (l *long) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ending = true
	if l.conn == nil {
		return
	}
	wait := time.Now().Add(l.config.Timeout)
	if len(l.pending) == 0 {
		wait = time.Unix(1, 0)
	}
	_ = l.conn.SetReadDeadline(wait)
}

func (l *long) finish() (string, probe.WatchCounts, error) {
	counts, err := l.tracker.finish()
	return probe.TrafficLong, counts, err
}
