// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package serve

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// serveTCP greets each connection with its identity line and then echoes, until
// the peer closes its side.
func (b *backend) serveTCP(ctx context.Context) error {
	defer onEnd(ctx, func() { _ = b.config.TCP.Close() })()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := b.config.TCP.Accept()
		switch {
		case exhausted(err):
			time.Sleep(50 * time.Millisecond) // out of descriptors: others will close
			continue
		case err != nil:
			return err
		}
		b.tcp.Add(1)
		open.Go(func() {
			defer conn.Close()
			defer onEnd(ctx, func() { _ = conn.Close() })()
			if _, err := conn.Write(line(b.identity("tcp", conn.RemoteAddr(), conn.LocalAddr()))); err != nil {
				return
			}
			_, _ = io.Copy(conn, conn) // how it ends is the client's to record
		})
	}
}

// onEnd has stop called when ctx ends. What it returns takes that back, or waits for a stop
// that has begun: whoever waits in Accept is let go before the port is free.
func onEnd(ctx context.Context, stop func()) (done func()) {
	stopped := make(chan struct{})
	release := context.AfterFunc(ctx, func() {
		defer close(stopped)
		stop()
	})
	return func() {
		if !release() {
			<-stopped
		}
	}
}

// exhausted tells the errors of Accept that pass.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED)
}

// serveUDP answers each datagram: one that begins with probe.EchoPrefix by itself, any
// other with the identity and the length received, so that what a path does to a payload
// is seen in both directions or in one.
func (b *backend) serveUDP(ctx context.Context) error {
	defer onEnd(ctx, func() { _ = b.config.UDP.Close() })()
	buffer := make([]byte, 64<<10)
	for {
		n, peer, err := b.config.UDP.ReadFrom(buffer)
		if err != nil {
			return err
		}
		b.udp.Add(1)
		answer := buffer[:n]
		if !bytes.HasPrefix(answer, []byte(probe.EchoPrefix)) {
			id := b.identity("udp", peer, nil)
			id.Length = n
			answer = bytes.TrimRight(line(id), "\n")
		}
		// A peer that cannot be reached is no reason to stop serving the others.
		_, _ = b.config.UDP.WriteTo(answer, peer)
	}
}
