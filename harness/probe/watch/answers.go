// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package watch

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
)

// answers tells which ARP probes were answered, and by whom.
//
// An answer does not say which probe it answers: at a probe a millisecond, one that is
// slower than that would seem to answer the next one. So a silence decides. An answer is
// taken for one to the latest probe sent before it arrived. If it ends a silence, counted
// from the first probe since the answer before, of more than the grace, then the probes
// sent in that silence failed, but for this latest one; if not, all of them succeeded.
type answers struct {
	vip     netip.Addr
	mac     arp.HardwareAddr // that asked; answers to others are not for us
	passive bool
	grace   time.Duration
	tracker *tracker
	emit    emitFunc

	// mu covers what follows, and is held while a probe is sent: an answer is then
	// never taken before its probe.
	mu         sync.Mutex
	open       []probe.WatchProbe // sent since the last answer
	latest     []sentProbe        // the newest, answered or not
	silent     bool               // the silence that open began in has failed probes
	rows       rows
	gratuitous int
}

type sentProbe struct{ number, at int64 }

// keepLatest is how many probes an answer is attributed among.
const keepLatest = 1024

func newAnswers(c Config, mac arp.HardwareAddr, t *tracker, emit emitFunc) *answers {
	return &answers{vip: c.ARP.VIP, mac: mac, passive: c.ARP.Passive, grace: c.ARP.Grace, tracker: t, emit: emit, rows: rows{grace: c.ARP.Grace, emit: emit}}
}

// asked sends a probe and notes it.
func (a *answers) asked(number int64, due time.Time, send func() error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if err := a.expire(now); err != nil {
		return err
	}
	// The kernel's receive times are on the realtime clock, so this one is too.
	p := probe.WatchProbe{Probe: number, DueNS: due.UnixNano(), SentNS: now.UnixNano()}
	if err := send(); err != nil {
		p.Message = err.Error() // as good as unanswered: a link that is down is what this is about
	}
	a.sent(p)
	return nil
}

// sent notes a probe.
func (a *answers) sent(p probe.WatchProbe) {
	a.open = append(a.open, p)
	if p.Message != "" {
		return
	}
	a.latest = append(a.latest, sentProbe{p.Probe, p.SentNS})
	if len(a.latest) > 2*keepLatest {
		a.latest = slices.Delete(a.latest, 0, len(a.latest)-keepLatest)
	}
}

// expire fails the probes whose silence has outlasted the grace.
func (a *answers) expire(now time.Time) error {
	n := 0
	for n < len(a.open) && now.UnixNano()-a.open[n].SentNS > a.grace.Nanoseconds() {
		n++
	}
	return a.settle(n, false, now.UnixNano(), "")
}

// settle tells of the first n open probes.
func (a *answers) settle(n int, ok bool, at int64, by string) error {
	settled := a.open[:n:n]
	a.open = a.open[n:]
	for _, p := range settled {
		p.OK, p.EndNS, p.Backend = ok, at, by
		if ok && p.Message != "" {
			p.OK, p.Backend = false, "" // never sent
		}
		if !p.OK {
			a.silent = true
			p.ErrorKind = probe.ErrorUnanswered
		}
		if err := a.tracker.tell(p); err != nil {
			return err
		}
	}
	return nil
}

// received sorts a frame.
func (a *answers) received(p arp.Packet) error {
	frame, err := arp.Parse(p.Frame)
	if err != nil || frame.SenderIP != a.vip {
		return nil // somebody else's
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case frame.Op == arp.OpReply && frame.TargetMAC == a.mac && !a.passive:
		return a.answered(frame, p)
	case frame.Gratuitous():
		a.gratuitous++
		op := "request"
		if frame.Op == arp.OpReply {
			op = "reply"
		}
		return a.emit(probe.KindARPGratuitous, probe.ARPGratuitous{
			Op: op, Address: frame.SenderIP, SenderMAC: frame.SenderMAC.String(),
			EthernetSource: frame.EthernetSource.String(), ReceivedNS: p.ReceivedNS, VLAN: p.VLAN,
		})
	case frame.Op == arp.OpReply:
		return a.note(-1, frame, p) // the answer to somebody else
	default:
		return nil
	}
}

// answered takes an answer to one of our probes.
func (a *answers) answered(frame arp.Frame, p arp.Packet) error {
	// The probes that were sent before it arrived.
	n := 0
	for n < len(a.open) && a.open[n].SentNS <= p.ReceivedNS {
		n++
	}
	if n > 0 {
		by := frame.SenderMAC.String()
		if a.silent || p.ReceivedNS-a.open[0].SentNS > a.grace.Nanoseconds() {
			if err := a.settle(n-1, false, p.ReceivedNS, ""); err != nil {
				return err
			}
			n = 1
		}
		if err := a.settle(n, true, p.ReceivedNS, by); err != nil {
			return err
		}
	}
	a.silent = false
	return a.note(a.attribute(p.ReceivedNS), frame, p)
}

// attribute is the latest probe sent before an answer arrived, or -1.
func (a *answers) attribute(receivedNS int64) int64 {
	for _, s := range slices.Backward(a.latest) {
		if s.at <= receivedNS {
			return s.number
		}
	}
	return -1
}

// note adds an answer to its responder's row.
func (a *answers) note(number int64, frame arp.Frame, p arp.Packet) error {
	return a.rows.note(probe.WatchResponder{
		VIP: a.vip, MAC: frame.SenderMAC.String(), EthernetSource: frame.EthernetSource.String(), VLAN: p.VLAN,
		FirstProbe: number, LastProbe: number, FirstNS: p.ReceivedNS, LastNS: p.ReceivedNS, Replies: 1,
	})
}

// end fails what was not answered, once the grace after the last probe is over.
func (a *answers) end(now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settle(len(a.open), false, now.UnixNano(), "")
}

// flush writes the last row.
func (a *answers) flush() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rows.write()
}
