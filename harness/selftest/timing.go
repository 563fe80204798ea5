// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package selftest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/probe/timeline"
	"github.com/lbmatrix/lbmatrix/harness/probe/watch"
	"github.com/lbmatrix/lbmatrix/harness/world"
)

// The figures of instruments.
const (
	loadP99  = "load-p99"
	loadP999 = "load-p99.9"
	watchNew = "watch-outage-new"
	watchUDP = "watch-outage-udp"
	watchARP = "watch-outage-arp"
)

// A backend that stalls, and the load on it for one whole period. At 400 requests a second
// 200 of 2000 meet the stall: enough for a 99.9th percentile that is not the maximum.
const (
	stallFor   = 500 * time.Millisecond
	stallEvery = 5 * time.Second
	stallRate  = 400
	// stallShare is how far a percentile may be from the truth.
	stallShare = 0.05
	// stallMargin is between a stall and the first request: the run ends so long before
	// or after a stall, too.
	stallMargin = 200 * time.Millisecond
)

// An announcer that is dead, and the probes meanwhile.
const (
	deadFor       = 3 * time.Second
	watchInterval = time.Millisecond
	// watchTimeout bounds how many connections are being tried at a time, each on a
	// thread of its own: one a millisecond.
	watchTimeout = 250 * time.Millisecond
	// watchLead and watchTail are watched before and after the outage.
	watchLead, watchTail = 500 * time.Millisecond, 500 * time.Millisecond
	// outageAllowed is how far the length of an outage may be from the truth.
	outageAllowed = 5 * time.Millisecond
	// blip is an outage that a busy machine makes by itself.
	blip = time.Second
)

// timingWorlds are about what instruments measure, and ask no check.
func timingWorlds() []World {
	return []World{
		{
			Name: "stalling-backend", Truth: "the backend stalls for 500 ms every 5 s",
			Build: func(ctx context.Context, s *Site) error {
				return s.traffic(ctx, world.Behaviour{StallFor: stallFor, StallEvery: stallEvery}, func(s *Site) {
					s.service(serviceCluster).served.Pods = s.pods[:1] // each pod has stalls of its own
				})
			},
			measure: measureStall, Steady: 20 * time.Millisecond, Places: half,
			Want: map[string]string{loadP99: codeOK, loadP999: codeOK},
		},
		{
			Name: "dead-announcer", Truth: "the announcer is cut off for 3.000 s",
			Build: served(nil), measure: measureOutage, Steady: outageAllowed, Places: all,
			Want: map[string]string{watchNew: codeOK, watchUDP: codeOK, watchARP: codeOK},
		},
	}
}

// measureStall loads the stalling backend for one period, so that one whole stall falls
// in it.
//
// Of an open loop's requests those that fall due in a stall wait for what is left of it.
// So the ones in its first stallFor - x take longer than x, which are (stallFor - x) /
// stallEvery of all: p99 is 450 ms and p99.9 495 ms.
func measureStall(ctx context.Context, s *Site, dir string) ([]reading, error) {
	svc := s.service(serviceCluster)
	// Begin between two stalls, whose phase is 0.
	for first, last := stallFor+stallMargin, stallEvery-stallMargin; ; {
		phase := time.Since(svc.served.Pods[0].Began) % stallEvery
		if phase >= first && phase <= last {
			break
		}
		if err := wait(ctx, (first-phase+stallEvery)%stallEvery); err != nil {
			return nil, err
		}
	}
	var totals probe.LoadTotals
	count := int(stallEvery.Seconds() * stallRate)
	records, err := recordTo(dir, "load", func(to io.Writer) (err error) {
		targets := []journal.Target{target("vip", svc, journal.TargetVIP, "http", svc.vip, servicePort, "")}
		totals, err = s.load(ctx, to, s.client.Dial, probe.ModeHTTPKeepalive, targets, stallRate, count, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	var h probe.LoadHistogram
	for _, r := range records {
		if r.Kind != probe.KindLoadHistogram {
			continue
		}
		body, err := probe.Decode[probe.LoadHistogram](r)
		if err != nil {
			return nil, err
		}
		if body.Name == probe.HistogramResponse {
			h = body
		}
	}
	wrong := ""
	if totals.Errors > 0 {
		wrong = "errors"
	}
	p := func(id string, share float64, measured int64) reading {
		truth := stallFor - time.Duration(share*float64(stallEvery))
		return reading{id: id, truth: truth, measured: time.Duration(measured), allowed: time.Duration(stallShare * float64(truth)), wrong: wrong}
	}
	return []reading{p(loadP99, 0.01, h.P99), p(loadP999, 0.001, h.P999)}, nil
}

// measureOutage watches the VIP while its announcer is cut off.
func measureOutage(ctx context.Context, s *Site, dir string) ([]reading, error) {
	svc := s.service(serviceCluster)
	if err := s.learn(ctx, svc); err != nil {
		return nil, err
	}
	c := watch.Config{
		New:  target("", svc, "", "", svc.vip, servicePort, "").Address,
		Mode: probe.ModeTCPConnect, // the pod's kernel answers, not this process
		UDP:  target("", svc, "", "", svc.vip, serviceUDP, "").Address,
		ARP: watch.ARP{VIP: svc.vip, Interface: world.Interface, Open: func(name string, _ bool) (conn arp.Conn, free func() error, err error) {
			err = s.observer.Do(func() (err error) {
				conn, err = arp.Open(name)
				return err
			})
			return conn, func() error { return nil }, err
		}},
		Interval: watchInterval, Timeout: watchTimeout, Dial: s.client.Dial,
	}
	var from, to time.Time
	records, err := recordTo(dir, "watch", func(out io.Writer) (err error) {
		stdin, closeStdin := io.Pipe()
		watching, cancel := stream.Lifetime(ctx, stdin, time.Minute)
		defer cancel()
		began := &firstWrite{to: out, seen: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- watch.Run(watching, c, stream.NewWriter(began)) }()
		select {
		case <-began.seen:
		case err := <-done:
			return errors.Join(errors.New("the watch ended before it began"), err)
		}
		err = wait(ctx, watchLead)
		if err == nil {
			from, to, err = svc.announcer.Outage(deadFor)
		}
		if err == nil {
			err = wait(ctx, watchTail)
		}
		return errors.Join(err, closeStdin.Close(), <-done)
	})
	if err != nil {
		return nil, err
	}
	if s.options.Watch != nil {
		if records, err = changed(records, s.options.Watch); err != nil {
			return nil, err
		}
	}
	seen, err := timeline.Read(records)
	if err != nil {
		return nil, err
	}
	var out []reading
	for _, t := range seen.Traffic {
		out = append(out, outageReading(t, to.Sub(from)))
	}
	return out, nil
}

// outageReading is the outage that one kind of traffic saw: one, but for blips.
func outageReading(t timeline.Traffic, truth time.Duration) reading {
	r := reading{id: map[string]string{probe.TrafficNew: watchNew, probe.TrafficUDP: watchUDP, probe.TrafficARP: watchARP}[t.Traffic], truth: truth, allowed: outageAllowed}
	n := 0
	for _, o := range t.Outages {
		if o.LengthNS > blip.Nanoseconds() {
			n++
			r.measured = time.Duration(o.LengthNS)
		}
	}
	if n != 1 {
		r.wrong = number("outages=", n)
	}
	return r
}

// changed is records whose probes were changed.
func changed(records []probe.Record, change func(probe.WatchProbe) probe.WatchProbe) ([]probe.Record, error) {
	var out []probe.Record
	for _, r := range records {
		if r.Kind == probe.KindWatchProbe {
			p, err := probe.Decode[probe.WatchProbe](r)
			if err != nil {
				return nil, err
			}
			if r.Body, err = json.Marshal(change(p)); err != nil {
				return nil, err
			}
		}
		out = append(out, r)
	}
	return out, nil
}
