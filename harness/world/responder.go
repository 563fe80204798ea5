// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package world

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/net/bpf"

	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
	"github.com/lbmatrix/lbmatrix/harness/probe/ndp"
)

// Script is what a responder does. The zero value answers every question for its
// addresses with the host's own MAC.
type Script struct {
	Addresses      []netip.Addr
	MAC            ether.HardwareAddr // that it claims; zero: the host's
	EthernetSource ether.HardwareAddr // of its frames; zero: the host's
	Answers        func(n int) bool   // whether question n (from 0, of one address) is answered; nil: all are
	Router         bool               // ndp: set the R flag
	NoOverride     bool               // ndp: leave the O flag out, as a proxy does
}

// Every answers one question in n: the first, and then each n-th.
func Every(n int) func(int) bool { return func(i int) bool { return i%n == 0 } }

// Share answers each question with probability q, independently. The same seed gives the
// same answers. It is for one responder only.
func Share(q float64, seed uint64) func(int) bool {
	random := rand.New(rand.NewPCG(seed, seed))
	return func(int) bool { return random.Float64() < q }
}

// Responder answers ARP, or neighbour discovery, by a script: what a speaker does from
// user space.
type Responder struct {
	host   *Host
	conn   ether.Conn
	script Script
	off    atomic.Bool
	asked  map[netip.Addr]int
	done   chan error
	mu     sync.Mutex // of Send
	answer func(r *Responder, frame []byte) []byte
}

// Respond starts a responder for ARP on the host. It ends with the segment.
func (h *Host) Respond(script Script) (*Responder, error) {
	return h.respond(script, "arp responder", arpQuestions(), (*Responder).answerARP)
}

// RespondNDP starts a responder for neighbour discovery on the host.
func (h *Host) RespondNDP(script Script) (*Responder, error) {
	var groups []ether.HardwareAddr
	for _, address := range script.Addresses {
		_, group := ndp.SolicitedNode(address)
		groups = append(groups, group)
	}
	return h.respond(script, "ndp responder", ndpQuestions(), (*Responder).answerNDP, groups...)
}

func (h *Host) respond(script Script, purpose string, filter []bpf.Instruction, answer func(*Responder, []byte) []byte, groups ...ether.HardwareAddr) (*Responder, error) {
	if script.MAC == (ether.HardwareAddr{}) {
		script.MAC = h.MAC
	}
	if script.EthernetSource == (ether.HardwareAddr{}) {
		script.EthernetSource = h.MAC
	}
	program, err := bpf.Assemble(filter)
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: assemble filter: %w", purpose, h.Name, err)
	}
	r := &Responder{host: h, script: script, asked: map[netip.Addr]int{}, done: make(chan error, 1), answer: answer}
	for _, address := range script.Addresses {
		r.asked[address] = 0
	}
	err = h.Do(func() (err error) {
		r.conn, err = ether.Open(purpose, Interface, program, groups...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", purpose, h.Name, err)
	}
	go func() { r.done <- r.run() }()
	h.segment.atEnd(r.close)
	return r, nil
}

// arpQuestions lets ARP requests pass.
func arpQuestions() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x0806, SkipTrue: 3},
		bpf.LoadAbsolute{Off: ether.HeaderLen + 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(arp.OpRequest), SkipTrue: 1},
		bpf.RetConstant{Val: ether.MaxFrameLen},
		bpf.RetConstant{Val: 0},
	}
}

// ndpQuestions lets neighbour solicitations pass.
func ndpQuestions() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x86dd, SkipTrue: 5},
		bpf.LoadAbsolute{Off: ether.HeaderLen + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 58, SkipTrue: 3}, // ICMPv6
		bpf.LoadAbsolute{Off: ether.HeaderLen + 40, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(ndp.TypeSolicitation), SkipTrue: 1},
		bpf.RetConstant{Val: ether.MaxFrameLen},
		bpf.RetConstant{Val: 0},
	}
}

// run answers until the socket is closed.
func (r *Responder) run() error {
	for {
		packet, err := r.conn.Receive()
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("respond on %s: %w", r.host.Name, err)
		}
		if r.off.Load() {
			continue
		}
		if answer := r.answer(r, packet.Frame); answer != nil {
			if err := r.send(answer); err != nil {
				return fmt.Errorf("respond on %s: %w", r.host.Name, err)
			}
		}
	}
}

func (r *Responder) send(frame []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conn.Send(frame)
}

// says whether the question for an address is answered, and counts it.
func (r *Responder) says(address netip.Addr) bool {
	n, mine := r.asked[address]
	if !mine {
		return false
	}
	r.asked[address] = n + 1
	return r.script.Answers == nil || r.script.Answers(n)
}

func (r *Responder) answerARP(frame []byte) []byte {
	q, err := arp.Parse(frame)
	if err != nil || q.Op != arp.OpRequest || q.SenderIP == q.TargetIP || !r.says(q.TargetIP) {
		return nil
	}
	return arp.Frame{
		EthernetDestination: q.EthernetSource, EthernetSource: r.script.EthernetSource, Op: arp.OpReply,
		SenderMAC: r.script.MAC, SenderIP: q.TargetIP, TargetMAC: q.SenderMAC, TargetIP: q.SenderIP,
	}.Bytes()
}

func (r *Responder) answerNDP(frame []byte) []byte {
	q, err := ndp.Parse(frame)
	if err != nil || q.Type != ndp.TypeSolicitation || !r.says(q.Target) {
		return nil
	}
	return ndp.Frame{
		EthernetDestination: q.EthernetSource, EthernetSource: r.script.EthernetSource, Source: q.Target, Destination: q.Source,
		Type: ndp.TypeAdvertisement, Router: r.script.Router, Solicited: true, Override: !r.script.NoOverride,
		Target: q.Target, LinkAddress: r.script.MAC, HasLinkAddress: true,
	}.Bytes()
}

// Switch turns the responder off or on.
func (r *Responder) Switch(on bool) { r.off.Store(!on) }

// Announce sends a gratuitous ARP request for one of its addresses (RFC 5227 3), or an
// unsolicited advertisement to all nodes (RFC 4861 7.2.6).
func (r *Responder) Announce(address netip.Addr) error {
	if address.Is4() {
		return r.send(arp.Frame{
			EthernetDestination: arp.Broadcast(), EthernetSource: r.script.EthernetSource, Op: arp.OpRequest,
			SenderMAC: r.script.MAC, SenderIP: address, TargetIP: address,
		}.Bytes())
	}
	return r.send(ndp.Frame{
		EthernetDestination: ndp.AllNodes(), EthernetSource: r.script.EthernetSource, Source: address,
		Destination: netip.MustParseAddr("ff02::1"), Type: ndp.TypeAdvertisement, Router: r.script.Router, Override: true,
		Target: address, LinkAddress: r.script.MAC, HasLinkAddress: true,
	}.Bytes())
}

func (r *Responder) close() error {
	err := r.conn.Unblock()
	return errors.Join(err, <-r.done, r.conn.Close())
}
