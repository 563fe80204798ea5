// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package forward carries TCP connections from one network namespace into
// another: the listener was opened where the clients are, and the process dials
// where the server is.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// Config is one forwarder. Run closes the listener.
type Config struct {
	Listener    net.Listener
	To          string                                                               // host:port
	DialTimeout time.Duration                                                        // 10s when 0
	Dial        func(ctx context.Context, network, address string) (net.Conn, error) // nil: from the namespace of the process
}

// Inherit takes over a listening socket that the parent left open as descriptor
// fd, and closes that: nothing else may own it.
func Inherit(fd int) (net.Listener, error) {
	file := os.NewFile(uintptr(fd), "listener")
	if file == nil {
		return nil, fmt.Errorf("inherit listener: bad descriptor %d", fd)
	}
	defer file.Close() // FileListener works on a duplicate
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("inherit listener from descriptor %d: %w", fd, err)
	}
	return listener, nil
}

type forwarder struct {
	config                                     Config
	connections, dialErrors, bytesIn, bytesOut atomic.Int64
}

// Run forwards until ctx ends or the listener fails, and then closes every
// connection. A server that cannot be reached closes its client's connection and
// is counted; it does not end the run.
func Run(ctx context.Context, c Config, w *stream.Writer) error {
	if c.DialTimeout == 0 {
		c.DialTimeout = 10 * time.Second
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	f := &forwarder{config: c}
	listen := c.Listener.Addr().String()
	return w.Session(ctx, probe.Start{Instrument: "forward", Address: listen}, probe.ForwardArgs{Listen: listen, To: c.To}, func(ctx context.Context) (any, error) {
		err := f.run(ctx)
		return probe.ForwardTotals{
			Connections: f.connections.Load(), DialErrors: f.dialErrors.Load(),
			BytesIn: f.bytesIn.Load(), BytesOut: f.bytesOut.Load(),
		}, err
	})
}

func (f *forwarder) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { _ = f.config.Listener.Close() })()
	var open sync.WaitGroup
	for {
		client, err := f.config.Listener.Accept()
		switch {
		case err == nil:
			f.connections.Add(1)
			open.Go(func() { f.serve(ctx, client) })
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED):
			time.Sleep(50 * time.Millisecond) // passes when others close
		default:
			if ctx.Err() == nil {
				cancel(fmt.Errorf("accept: %w", err)) // ends the open connections too
			}
			_ = f.config.Listener.Close()
			open.Wait()
			return context.Cause(ctx)
		}
	}
}

// serve carries one connection both ways until both sides have ended.
func (f *forwarder) serve(ctx context.Context, client net.Conn) {
	defer client.Close()
	dialCtx, cancel := context.WithTimeout(ctx, f.config.DialTimeout)
	server, err := f.config.Dial(dialCtx, "tcp", f.config.To)
	cancel()
	if err != nil {
		f.dialErrors.Add(1)
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})()
	var up sync.WaitGroup
	up.Go(func() { pipe(server, client, &f.bytesIn) })
	pipe(client, server, &f.bytesOut)
	up.Wait()
}

// pipe copies until from ends, and tells that to the other side without closing
// its way back. An error ends both: neither side can be served by half a path.
func pipe(to, from net.Conn, count *atomic.Int64) {
	n, err := io.Copy(to, from)
	count.Add(n)
	half, ok := to.(interface{ CloseWrite() error })
	if err == nil && ok && half.CloseWrite() == nil {
		return
	}
	_ = to.Close()
	_ = from.Close()
}
