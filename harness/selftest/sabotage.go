// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package selftest

import (
	"net/netip"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
	"github.com/lbmatrix/lbmatrix/harness/probe/load"
)

// Sabotage breaks a detector on purpose. A selftest that does not notice would be worth
// nothing.
type Sabotage struct {
	Name  string
	Title string
	Apply func(*Options)
}

// Sabotages lists the ways to break a detector.
func Sabotages() []Sabotage {
	return []Sabotage{
		{"one-mac", "the ARP instrument keeps the first MAC of each address, as a kernel's neighbour cache does", func(o *Options) {
			o.Conn = func(c ether.Conn) ether.Conn { return oneMAC{c, map[netip.Addr]ether.HardwareAddr{}} }
		}},
		{"deaf-to-drops", "the ARP instrument does not read how many frames the kernel dropped", func(o *Options) {
			o.Conn = func(c ether.Conn) ether.Conn { return noDrops{c} }
		}},
		{"closed-loop", "the load instrument leaves out what falls due while it waits for an answer, as a closed loop does", func(o *Options) {
			o.Load = func(c *load.Config) { c.MaxInFlight = 1 }
		}},
		{"late-watch", "the watch instrument notes a probe that fails a quarter of a second late, as one does that waits for its outcome", func(o *Options) {
			o.Watch = func(p probe.WatchProbe) probe.WatchProbe {
				if !p.OK && !p.Dropped {
					p.SentNS += (250 * time.Millisecond).Nanoseconds()
				}
				return p
			}
		}},
		{"always-pass", "every check passes", func(o *Options) {
			o.Judge = func(c judge.Cell) judge.Cell {
				c.Verdict = judge.Verdict{Outcome: judge.Passed, Code: codeOK, Message: "all is well", Findings: c.Verdict.Findings}
				return c
			}
		}},
		{"always-fail", "every check fails", func(o *Options) {
			o.Judge = func(c judge.Cell) judge.Cell {
				c.Verdict = judge.Verdict{Outcome: judge.Failed, Code: "failed", Message: "nothing is well", Findings: c.Verdict.Findings}
				return c
			}
		}},
	}
}

// oneMAC hides every answer that comes from another MAC than the first for its address.
type oneMAC struct {
	ether.Conn
	known map[netip.Addr]ether.HardwareAddr
}

func (o oneMAC) Receive() (ether.Packet, error) {
	for {
		p, err := o.Conn.Receive()
		if err != nil {
			return p, err
		}
		a, err := arp.Parse(p.Frame)
		if err != nil || a.Op != arp.OpReply {
			return p, nil
		}
		if _, ok := o.known[a.SenderIP]; !ok {
			o.known[a.SenderIP] = a.SenderMAC
		}
		if o.known[a.SenderIP] == a.SenderMAC {
			return p, nil
		}
	}
}

// noDrops says that nothing was dropped.
type noDrops struct{ ether.Conn }

func (n noDrops) Stats() (packets, drops uint32, err error) {
	packets, _, err = n.Conn.Stats()
	return packets, 0, err
}
