// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package serve is the backend of a scenario: HTTP, TCP and UDP echo that names
// its pod and node, and the peer address it sees.
package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// Config is one backend. A nil listener is a protocol not served; at least one
// is needed. Run closes them.
type Config struct {
	HTTP  net.Listener
	TCP   net.Listener
	UDP   net.PacketConn
	Pod   string
	Node  string
	Grace time.Duration // for open requests after the end; 5s when 0
}

// Listen opens the listeners of a Config; an empty address is none.
func Listen(ctx context.Context, httpAddress, tcpAddress, udpAddress string) (Config, error) {
	var c Config
	var lc net.ListenConfig
	var err error
	if httpAddress != "" {
		if c.HTTP, err = lc.Listen(ctx, "tcp", httpAddress); err != nil {
			return c, fmt.Errorf("listen for http: %w", err)
		}
	}
	if tcpAddress != "" {
		if c.TCP, err = lc.Listen(ctx, "tcp", tcpAddress); err != nil {
			return c, errors.Join(fmt.Errorf("listen for tcp: %w", err), c.close())
		}
	}
	if udpAddress != "" {
		if c.UDP, err = lc.ListenPacket(ctx, "udp", udpAddress); err != nil {
			return c, errors.Join(fmt.Errorf("listen for udp: %w", err), c.close())
		}
		if err = deepen(c.UDP); err != nil {
			return c, errors.Join(fmt.Errorf("listen for udp: %w", err), c.close())
		}
	}
	return c, nil
}

// datagrams is how many bytes may wait for a backend that its machine does not run: what
// overflows is lost, and would be taken for a loss on the way. The default holds no more
// than the datagrams of 8000 bytes that come within a tenth of a second. The kernel gives
// at most net.core.rmem_max, without an error.
const datagrams = 4 << 20

func deepen(conn net.PacketConn) error {
	if buffered, ok := conn.(interface{ SetReadBuffer(bytes int) error }); ok {
		return buffered.SetReadBuffer(datagrams)
	}
	return nil
}

func (c Config) close() error {
	var errs []error
	if c.HTTP != nil {
		errs = append(errs, c.HTTP.Close())
	}
	if c.TCP != nil {
		errs = append(errs, c.TCP.Close())
	}
	if c.UDP != nil {
		errs = append(errs, c.UDP.Close())
	}
	return errors.Join(errs...)
}

// backend is the state of one run.
type backend struct {
	config         Config
	host           string
	http, tcp, udp atomic.Int64
}

// Run serves until ctx ends or a listener fails, then lets open HTTP requests
// end within Grace and closes everything else.
func Run(ctx context.Context, c Config, w *stream.Writer) error {
	if c.Grace == 0 {
		c.Grace = 5 * time.Second
	}
	b := &backend{config: c}
	b.host, _ = os.Hostname() // a host without a name still serves
	args := probe.ServeArgs{Pod: c.Pod, Node: c.Node}
	start := probe.Start{Instrument: "serve", Host: b.host}
	if c.UDP != nil {
		args.UDP = c.UDP.LocalAddr().String()
		start.Address = args.UDP
	}
	if c.TCP != nil {
		args.TCP = c.TCP.Addr().String()
		start.Address = args.TCP
	}
	if c.HTTP != nil {
		args.HTTP = c.HTTP.Addr().String()
		start.Address = args.HTTP
	}
	return w.Session(ctx, start, args, func(ctx context.Context) (any, error) {
		err := b.run(ctx)
		return probe.ServeTotals{HTTP: b.http.Load(), TCP: b.tcp.Load(), UDP: b.udp.Load()}, err
	})
}

func (b *backend) run(ctx context.Context) error {
	if b.config.HTTP == nil && b.config.TCP == nil && b.config.UDP == nil {
		return errors.New("nothing to serve")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	service := func(name string, serve func(context.Context) error) {
		running.Go(func() {
			if err := serve(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("serve %s: %w", name, err))
			}
		})
	}
	if b.config.HTTP != nil {
		service("http", b.serveHTTP)
	}
	if b.config.TCP != nil {
		service("tcp", b.serveTCP)
	}
	if b.config.UDP != nil {
		service("udp", b.serveUDP)
	}
	<-ctx.Done()
	running.Wait()
	return context.Cause(ctx)
}

func (b *backend) identity(protocol string, peer, local net.Addr) probe.Identity {
	id := probe.Identity{
		Pod: b.config.Pod, Node: b.config.Node, Host: b.host, Protocol: protocol,
		Peer: peer.String(), Time: time.Now().UTC(),
	}
	if local != nil {
		id.Local = local.String()
	}
	return id
}

func (b *backend) serveHTTP(ctx context.Context) error {
	server := &http.Server{Handler: b.handler(), ReadHeaderTimeout: 10 * time.Second}
	done := onEnd(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.config.Grace)
		defer cancel()
		if server.Shutdown(grace) != nil {
			_ = server.Close() // who is still there had its grace
		}
	})
	err := server.Serve(b.config.HTTP)
	done()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
