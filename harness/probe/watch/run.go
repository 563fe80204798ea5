// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/machine"
	"github.com/lbmatrix/lbmatrix/harness/probe/pace"
	"github.com/lbmatrix/lbmatrix/harness/probe/request"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// Run watches until the duration is over or its stdin ends (see stream.Lifetime), which
// is what its work is over with; any other end cuts it short. It returns an error when
// the configuration is wrong, a socket cannot be had, or w fails; a probe that fails is
// a fact, not an error.
func Run(ctx context.Context, c Config, w *stream.Writer) error {
	c, err := c.withDefaults()
	r := &run{config: c, emit: w.Emit}
	start := probe.Start{Instrument: "watch", Interface: cmp.Or(c.ARP.Interface, c.NDP.Interface)}
	if err == nil {
		err = r.open(ctx, &start)
	}
	defer func() { _ = r.close() }() // a second close is without effect
	r.start = time.Now()
	return w.Session(ctx, start, c.args(r.start, start.MAC), func(ctx context.Context) (any, error) {
		if err != nil {
			return nil, err // said inside the session, so that even this run has its end record
		}
		return r.watch(ctx)
	})
}

// run is the state of one run.
type run struct {
	config Config
	emit   emitFunc
	start  time.Time
	arp    *responders     // nil: not watched
	ndp    *advertisements // nil: not watched
	long   *long           // nil: not watched
	probes []traffic
}

// traffic is one kind of traffic. Its probe func does a probe and may be called again
// before it has returned.
type traffic interface {
	// run sends probes as they fall due until ctx ends, and returns once all of them
	// have ended.
	run(ctx context.Context) error
	finish() (name string, counts probe.WatchCounts, err error)
}

// open does what is to be done before the first probe is due: the sockets for ARP and NDP,
// which must be had, and the long-lived connection, which need not.
func (r *run) open(ctx context.Context, start *probe.Start) error {
	if r.config.Long != "" {
		r.long = openLong(ctx, r.config, r.emit)
	}
	var err error
	if r.config.ARP.VIP.IsValid() {
		r.arp, err = openResponders(r.config, r.emit, start)
	}
	if err == nil && r.config.NDP.VIP.IsValid() {
		r.ndp, err = openAdvertisements(r.config, r.emit, start)
	}
	return err
}

func (r *run) close() error {
	var err error
	if r.long != nil {
		r.long.close()
	}
	if r.arp != nil {
		err = r.arp.close()
	}
	if r.ndp != nil {
		err = errors.Join(err, r.ndp.close())
	}
	return err
}

func (r *run) watch(ctx context.Context) (probe.WatchTotals, error) {
	totals := probe.WatchTotals{Traffic: map[string]probe.WatchCounts{}}
	if err := r.prepare(); err != nil {
		return totals, err
	}
	before := machine.ReadCPU()
	work := ctx
	if r.config.Duration > 0 {
		var cancel context.CancelFunc
		work, cancel = context.WithDeadlineCause(ctx, r.start.Add(r.config.Duration), errOver)
		defer cancel()
	}
	work, fail := context.WithCancelCause(work)
	defer fail(nil)
	var running sync.WaitGroup
	for _, t := range r.probes {
		running.Go(func() {
			if err := t.run(work); err != nil {
				fail(err)
			}
		})
	}
	running.Wait()
	cause := context.Cause(work)
	if cause == nil {
		cause = errOver // all of them had sent what was to be sent
	}
	for _, t := range r.probes {
		name, counts, err := t.finish()
		totals.Traffic[name] = counts
		if err != nil {
			return totals, err
		}
	}
	if r.arp != nil {
		if err := r.arp.total(&totals); err != nil {
			return totals, err
		}
	}
	if r.ndp != nil {
		if err := r.ndp.total(&totals); err != nil {
			return totals, err
		}
	}
	totals.StealRatio = before.StealRatio(machine.ReadCPU())
	if errors.Is(cause, errOver) || errors.Is(cause, stream.ErrStdinClosed) {
		return totals, nil
	}
	return totals, cause
}

// errOver ends a run whose duration is over.
var errOver = errors.New("duration is over")

// prepare makes the kinds of traffic.
func (r *run) prepare() error {
	c := r.config
	for _, t := range []struct{ name, mode, address string }{
		{probe.TrafficNew, c.Mode, c.New},
		{probe.TrafficUDP, probe.ModeUDPEcho, c.UDP},
	} {
		if t.address == "" {
			continue
		}
		requester, err := request.New(request.Config{Mode: t.mode, Address: t.address, Payload: c.Payload, Source: c.Source, Dial: c.Dial})
		if err != nil {
			return fmt.Errorf("watch %s: %w", t.name, err)
		}
		r.probes = append(r.probes, &requests{config: c, start: r.start, requester: requester, tracker: newTracker(c, t.name, r.start, r.emit)})
	}
	if r.long != nil {
		r.long.begin(r.start)
		r.probes = append(r.probes, r.long)
	}
	if r.arp != nil {
		r.arp.begin(r.start)
		r.probes = append(r.probes, r.arp)
	}
	if r.ndp != nil {
		r.ndp.begin(c, r.start)
		r.probes = append(r.probes, r.ndp)
	}
	return nil
}

// each calls send for each probe when it is due, until ctx ends. send must not wait.
func each(ctx context.Context, c Config, start time.Time, send func(number int64, due time.Time) error) error {
	// The thread's timer slack is set, so it must stay the dispatcher's own.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pacer := pace.New(c.Sleep)
	defer pacer.Stop()
	for i := int64(0); c.Duration == 0 || time.Duration(i)*c.Interval < c.Duration; i++ {
		due := start.Add(time.Duration(i) * c.Interval)
		pacer.Until(ctx, due)
		if ctx.Err() != nil {
			return nil
		}
		if err := send(i, due); err != nil {
			return err
		}
	}
	return nil
}

// requests is a kind of traffic whose probes are requests of their own.
type requests struct {
	config    Config
	start     time.Time
	requester request.Requester
	tracker   *tracker
}

func (r *requests) run(ctx context.Context) error {
	defer r.requester.Close()
	// A probe that was sent is awaited: its timeout bounds it.
	sent := context.WithoutCancel(ctx)
	slots := make(chan struct{}, r.config.maxInFlight())
	var inFlight sync.WaitGroup
	sending, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	err := each(sending, r.config, r.start, func(number int64, due time.Time) error {
		p := probe.WatchProbe{Probe: number, DueNS: due.UnixNano()}
		select {
		case slots <- struct{}{}:
		default:
			p.Dropped = true
			return r.tracker.tell(p)
		}
		inFlight.Go(func() {
			defer func() { <-slots }()
			if err := r.tracker.tell(r.ask(sent, p)); err != nil {
				fail(err)
			}
		})
		return nil
	})
	inFlight.Wait()
	if err == nil && ctx.Err() == nil {
		err = context.Cause(sending) // a result could not be recorded
	}
	return err
}

func (r *requests) ask(ctx context.Context, p probe.WatchProbe) probe.WatchProbe {
	sent := time.Now()
	answer, err := r.requester.Do(ctx, sent.Add(r.config.Timeout))
	p.SentNS, p.EndNS, p.Local = since(r.start, sent), since(r.start, time.Now()), answer.Local
	if answer.Identity != nil {
		p.Backend = cmp.Or(answer.Identity.Pod, answer.Identity.Host)
	}
	p.OK = err == nil
	if err != nil {
		p.ErrorKind, p.Message = request.Classify(err), err.Error()
	}
	return p
}

func (r *requests) finish() (string, probe.WatchCounts, error) {
	counts, err := r.tracker.finish()
	return r.tracker.traffic, counts, err
}

// since is a moment on the realtime clock as it went when the run began: a step of that
// clock moves none of the run's times.
func since(start, at time.Time) int64 {
	return start.UnixNano() + at.Sub(start).Nanoseconds()
}
