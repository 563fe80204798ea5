// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/pace"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/pcap"
)

// replyRequests is how many connections, and how many datagrams, the reply path is
// read from. Each is a sample of its own; one would do on a data plane that is all of
// one kind, and a mixture of which a share q answers otherwise is missed with
// probability (1-q)^n.
const replyRequests = 40

// captureLead is how long the capture listens before the first request.
const captureLead = 100 * time.Millisecond

// observeReplyPath records the frames by which the client opens connections to, and
// exchanges datagrams with, the VIP whose backends are off its announcer: where the
// SYN goes, and who answers it.
func observeReplyPath(ctx context.Context, e *Env, o *journal.Observation) error {
	remote, err := e.remote(ctx)
	if err != nil {
		return err
	}
	if remote.VIP == "" {
		return unassigned(o, remote.Name)
	}
	targets := []journal.Target{
		{Name: remote.Name, Service: remote.Name, Kind: journal.TargetVIP, Protocol: "tcp", Address: hostPort(remote.VIP, remote.Port), Stream: journal.StreamReplyTCP},
		{Name: remote.Name, Service: remote.Name, Kind: journal.TargetVIP, Protocol: "udp", Address: hostPort(remote.VIP, remote.UDPPort), Stream: journal.StreamReplyUDP},
	}
	if err := o.Write(journal.KindPaths, journal.Paths{Targets: targets}); err != nil {
		return err
	}
	client, err := e.freshClient(ctx)
	if err != nil {
		return err
	}
	work := 2*loadTime(ctx, replyRequests, e.Scenario.Spec.Limits.RequestRate) + 2*pace.Scale(ctx, instrumentSlack)
	capture, err := e.capture(ctx, o, client, remote.VIP, work)
	if err != nil {
		return err
	}
	_, err = e.load(ctx, o, client, journal.StreamReplyTCP, probe.ModeHTTPNew, targets[:1], replyRequests, 0)
	if err == nil {
		_, err = e.load(ctx, o, client, journal.StreamReplyUDP, probe.ModeUDPEcho, targets[1:], replyRequests, 0)
	}
	return errors.Join(err, capture.end(e.Dir))
}

// running is a capture that goes on until its stdin is closed.
type running struct {
	closeStdin func()
	done       chan error
	lines      *firstLine
	cancel     context.CancelFunc
}

// capture starts to record on a host, and returns once it listens. It records for at
// most the time that the work to be recorded may take.
func (e *Env) capture(ctx context.Context, o *journal.Observation, h cluster.Host, addr string, work time.Duration) (*running, error) {
	slack := pace.Scale(ctx, instrumentSlack)
	limit := work + slack
	ctx, cancel := context.WithTimeout(ctx, limit+slack)
	stdin, closeStdin, err := openStdin()
	if err != nil {
		cancel()
		return nil, err
	}
	r := &running{closeStdin: closeStdin, done: make(chan error, 1), cancel: cancel, lines: &firstLine{out: o.Stream(journal.StreamCapture), seen: make(chan struct{})}}
	var stderr tail
	go func() {
		err := h.Run(ctx, cluster.Command{
			Path: e.Probe, Args: []string{"capture", "--interface", segmentInterface, "--address", addr, "--deadline", limit.String()},
			Stdin: stdin, Stdout: r.lines, Stderr: &stderr,
		})
		if err != nil {
			err = fmt.Errorf("run instrument %s on %s: %w%s", journal.StreamCapture, h.Name(), err, stderr.said())
		}
		r.done <- err
	}()
	select {
	case <-r.lines.seen:
		select {
		case <-time.After(captureLead):
		case <-ctx.Done():
		}
		return r, nil
	case err := <-r.done:
		closeStdin()
		cancel()
		if err == nil {
			err = errors.New("the capture ended before it began")
		}
		return nil, err
	}
}

// end stops the capture and leaves its frames in dir as a pcapng file.
func (r *running) end(dir string) error {
	defer r.cancel()
	time.Sleep(captureLead) // the last answer may still be on its way through the kernel
	r.closeStdin()
	if err := <-r.done; err != nil {
		return err
	}
	if dir == "" {
		return nil
	}
	return writePcapng(filepath.Join(dir, "captures"), r.lines.text())
}

// firstLine passes lines on, keeps them, and tells when the first one is there: an
// instrument writes it when it listens.
type firstLine struct {
	out  io.Writer
	mu   sync.Mutex
	kept bytes.Buffer
	once sync.Once
	seen chan struct{}
}

func (f *firstLine) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.out.Write(p)
	f.kept.Write(p[:n])
	if bytes.IndexByte(p[:n], '\n') >= 0 {
		f.once.Do(func() { close(f.seen) })
	}
	return n, err
}

func (f *firstLine) text() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kept.Bytes()
}

// writePcapng makes a file that Wireshark and tcpdump read of a capture's records. The
// journal has the same frames; this one is for people. A phase's file is numbered.
func writePcapng(dir string, records []byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	existing, err := filepath.Glob(filepath.Join(dir, "reply-path-*.pcapng"))
	if err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	f, err := os.Create(filepath.Join(dir, "reply-path-"+strconv.Itoa(len(existing)+1)+".pcapng"))
	if err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	var parsed []probe.Record
	for line := range bytes.Lines(records) {
		var rec probe.Record
		if json.Unmarshal(line, &rec) == nil { // the journal's reader says what is wrong with a line
			parsed = append(parsed, rec)
		}
	}
	return errors.Join(pcap.Write(f, parsed), f.Close())
}
