// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package watch

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
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

func (l *long) run(ctx context.Context) error {
	if l.conn != nil {
		if err := l.opened(l.conn); err != nil {
			return err
		}
	}
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
	now := time.Now()
	l.mu.Lock()
	if l.conn != conn {
		l.mu.Unlock()
		return nil // whoever saw it first knows why; the other saw that one close it
	}
	l.conn, l.why = nil, why
	lost, ending, answered := l.pending, l.ending, conn.answered
	l.pending = nil
	l.mu.Unlock()
	_ = conn.Close()
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
