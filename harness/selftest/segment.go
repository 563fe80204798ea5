// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package selftest

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"

	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/harness/world"
)

// segmentWorlds are about who answers ARP. None has traffic.
func segmentWorlds() []World {
	healthy := map[string]string{"single-responder": codeOK, "responder-is-announcer": codeOK}
	several := func(code string) map[string]string {
		return want(healthy, "single-responder", code, "responder-is-announcer", "no-single-responder")
	}
	broken := want(healthy, "single-responder", codeNoData, "responder-is-announcer", codeNoData)
	return []World{
		{
			Name: "one-responder", Truth: "the elected node answers every broadcast",
			Build: announced(nil), Want: want(healthy, "unassigned-address-silent", codeOK),
		},
		{
			Name: "two-responders", Truth: "another node answers as well",
			Build: announced(func(s *Site, svc *service) error { return also(s.other(svc).Host, svc, nil) }), Want: several("responders=2"),
		},
		{
			Name: "all-nodes-respond", Truth: "every node answers, as with ipvs without strictARP",
			Build: announced(func(s *Site, svc *service) error {
				for _, n := range s.nodes {
					if n != svc.announcer {
						if err := also(n.Host, svc, nil); err != nil {
							return err
						}
					}
				}
				return nil
			}), Want: several("responders=3"),
		},
		{
			Name: "second-answers-1-in-10", Truth: "another node answers one broadcast in ten",
			Build: announced(func(s *Site, svc *service) error { return also(s.other(svc).Host, svc, world.Every(10)) }), Want: several("responders=2"),
		},
		{
			Name: "second-answers-1-in-100", Truth: "another node answers one broadcast in a hundred, of 120",
			Spec:  func(sc *scenario.Scenario) { sc.Spec.Limits.ARPProbes = 120 },
			Build: announced(func(s *Site, svc *service) error { return also(s.other(svc).Host, svc, world.Every(100)) }), Want: several("responders=2"),
		},
		{
			Name: "nobody-responds", Truth: "nobody answers for the VIP, every node does for its own address",
			Build: func(_ context.Context, s *Site) error { s.addService(serviceCluster); return nil }, Want: several("responders=0"),
		},
		{
			Name: "other-ethernet-source", Truth: "the answers claim the elected node's MAC and come in frames from another",
			Build: func(_ context.Context, s *Site) error {
				svc := s.addService(serviceCluster)
				_, err := svc.announcer.Respond(world.Script{Addresses: []netip.Addr{svc.vip}, EthernetSource: ether.HardwareAddr{2, 0xaa, 0, 0, 0, 1}})
				return err
			},
			Want: healthy, Finding: "came in frames from 02:aa:00:00:00:01",
		},
		{
			Name: "proxy-arp", Truth: "a router answers for every address",
			Build: announced(func(s *Site, _ *service) error {
				router, err := s.segment.Host("router", netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 98, 0, 1}), 32))
				if err != nil {
					return err
				}
				return router.ProxyARP()
			}),
			Want: want(several("responders=2"), "unassigned-address-silent", "answered-everywhere"), Finding: "belongs to nobody and is answered by",
		},
		{
			Name: "spare-answered", Truth: "a node answers for an address of the pool that no Service has",
			Build: announced(func(s *Site, svc *service) error {
				_, err := s.other(svc).Respond(world.Script{Addresses: []netip.Addr{spare()}})
				return err
			}),
			Want: want(healthy, "unassigned-address-silent", "answered-in-pool"),
		},
		{
			Name: "idle-announced", Truth: "a node answers for the Service of policy Local that has no endpoint",
			Build: func(_ context.Context, s *Site) error {
				if err := s.announce(s.addService(serviceLocal)); err != nil {
					return err
				}
				svc := s.addService(serviceIdle)
				return also(svc.announcer.Host, svc, nil)
			},
			Want: map[string]string{"single-responder": codeOK, "no-endpoint-not-announced": "responders=1"},
		},
		{
			Name: "many-vips", Truth: "the workers answer in turns for the VIPs of five more Services",
			Spec: crowded, Build: crowd(nil), Want: map[string]string{"more-vips-answered": codeOK},
		},
		{
			Name: "many-vips-doubled", Truth: "for one of five more VIPs another node answers as well",
			Spec:  crowded,
			Build: crowd(func(s *Site) error { return answer(s.nodes[0].Host, s.more[1], nil) }), Want: map[string]string{"more-vips-answered": "responders=2"},
		},
		{
			Name: "many-vips-lagging", Truth: "for one of five more VIPs one broadcast in four is answered",
			Spec: crowded, Build: func(_ context.Context, s *Site) error {
				s.more = append(s.more, moreVIP(0))
				return errors.Join(answer(s.nodes[1].Host, s.more[0], world.Every(4)), s.join(4))
			},
			Want: map[string]string{"more-vips-answered": "unanswered"},
		},
		{
			Name: "first-announced", Truth: "a node begins to answer after ten broadcasts, and announces the VIP",
			Build: begins(true), Want: map[string]string{"gratuitous-on-takeover": codeOK},
		},
		{
			Name: "first-silent", Truth: "a node begins to answer after ten broadcasts, and does not announce the VIP",
			Build: begins(false), Want: map[string]string{"gratuitous-on-takeover": "silent"},
		},
		{
			Name: "stranger", Truth: "a host that is no node answers, alone",
			Build: func(_ context.Context, s *Site) error {
				svc := s.addService(serviceCluster)
				h, err := s.segment.Host("stranger", stranger())
				if err != nil {
					return err
				}
				return also(h, svc, nil)
			},
			Want: want(healthy, "responder-is-announcer", "foreign-responder"),
		},
		{
			Name: "excluded-node", Truth: "the node that is excluded from load balancing answers, alone",
			Build: func(_ context.Context, s *Site) error {
				return also(s.nodes[0].Host, s.addService(serviceCluster), nil)
			},
			Want: want(healthy, "responder-is-announcer", "excluded-node"),
		},
		{
			Name: "not-elected", Truth: "the node that lost the election answers, alone",
			Build: func(_ context.Context, s *Site) error {
				svc := s.addService(serviceCluster)
				return also(s.other(svc).Host, svc, nil)
			},
			Want: want(healthy, "responder-is-announcer", "not-elected"),
		},
		{
			Name: "takeover", Truth: "half way through another node takes over and says so",
			Build: shared(func(n int) bool { return n < probes/2 }), Want: several("responders=2"),
		},
		{
			Name: "flapping", Truth: "two nodes take turns, ten broadcasts each",
			Build: shared(func(n int) bool { return n/10%2 == 0 }), Want: several("responders=2"),
		},
		{
			Name: "unanswered", Truth: "the elected node answers four broadcasts of five",
			Build: func(_ context.Context, s *Site) error {
				svc := s.addService(serviceCluster)
				return also(svc.announcer.Host, svc, func(n int) bool { return n%5 != 0 })
			},
			Want: want(healthy, "single-responder", "unanswered"),
		},
		{
			Name: "announced-by-another", Truth: "another node announces the VIP and never answers for it",
			Build: announced(func(s *Site, svc *service) error {
				r, err := s.other(svc).Respond(world.Script{Addresses: []netip.Addr{svc.vip}, Answers: func(int) bool { return false }})
				s.before = append(s.before, func() error { return r.Announce(svc.vip) })
				return err
			}),
			Want: healthy, Finding: "was announced, though never answered for",
		},
		{
			Name: "frames-lost", Truth: "a third of the frames to the observer is lost on the wire",
			Build: announced(func(s *Site, _ *service) error { return s.observer.Lose(33) }), Want: broken,
		},
		{
			Name: "frames-dropped", Truth: "more frames arrive than the observer's kernel can keep for it",
			Build: announced(func(s *Site, _ *service) error {
				s.before = append(s.before, func() error { return flood(s.client) })
				return nil
			}), Want: broken,
		},
	}
}

// announced is a site with one Service that its announcer answers for, changed by more.
func announced(more func(*Site, *service) error) func(context.Context, *Site) error {
	return func(_ context.Context, s *Site) error {
		svc := s.addService(serviceCluster)
		err := s.announce(svc)
		if err == nil && more != nil {
			err = more(s, svc)
		}
		return err
	}
}

// moreVIPs is how many Services the worlds about that have beside those under test.
const moreVIPs = 5

func crowded(sc *scenario.Scenario) {
	sc.Spec.LoadBalancer.MoreServices, sc.Spec.LoadBalancer.PoolSize = moreVIPs, 7+moreVIPs
}

func moreVIP(i int) netip.Addr { return segmentAddr(byte(150 + i)) }

// join gives the site n more VIPs, which the workers answer for in turns.
func (s *Site) join(n int) error {
	for range n {
		vip := moreVIP(len(s.more))
		if err := answer(s.workers()[len(s.more)%2].Host, vip, nil); err != nil {
			return err
		}
		s.more = append(s.more, vip)
	}
	return nil
}

// crowd is a site with more VIPs, changed by more.
func crowd(more func(*Site) error) func(context.Context, *Site) error {
	return func(_ context.Context, s *Site) error {
		err := s.join(moreVIPs)
		if err == nil && more != nil {
			err = more(s)
		}
		return err
	}
}

// also makes a host answer for a Service.
func also(h *world.Host, svc *service, answers func(int) bool) error {
	return answer(h, svc.vip, answers)
}

// answer makes a host answer for an address.
func answer(h *world.Host, vip netip.Addr, answers func(int) bool) error {
	_, err := h.Respond(world.Script{Addresses: []netip.Addr{vip}, Answers: answers})
	return err
}

// shared is a site whose two workers divide the broadcasts between them.
func shared(first func(int) bool) func(context.Context, *Site) error {
	return func(_ context.Context, s *Site) error {
		svc := s.addService(serviceCluster)
		if err := also(svc.announcer.Host, svc, first); err != nil {
			return err
		}
		var other atomic.Pointer[world.Responder] // it answers before it is known here
		announced := false
		r, err := s.other(svc).Respond(world.Script{Addresses: []netip.Addr{svc.vip}, Answers: func(n int) bool {
			if first(n) {
				return false
			}
			if r := other.Load(); r != nil && !announced { // the first time, as a speaker does when it takes over
				announced = r.Announce(svc.vip) == nil
			}
			return true
		}})
		other.Store(r)
		return err
	}
}

// begins is a site whose announcer answers from the eleventh broadcast on.
func begins(tell bool) func(context.Context, *Site) error {
	const silent = 10
	return func(_ context.Context, s *Site) error {
		svc := s.addService(serviceCluster)
		var announcer atomic.Pointer[world.Responder] // it is asked before it is known here
		told := !tell
		r, err := svc.announcer.Respond(world.Script{Addresses: []netip.Addr{svc.vip}, Answers: func(n int) bool {
			if r := announcer.Load(); r != nil && n >= silent && !told {
				told = r.Announce(svc.vip) == nil
			}
			return n >= silent
		}})
		announcer.Store(r)
		return err
	}
}

// floodFrames is several times what the socket's buffer holds: 8 MB at most, of which a
// frame takes 700 bytes or so.
const floodFrames = 60_000

// flood sends announcements of an address that nobody asks for, which the filter passes.
func flood(h *world.Host) error {
	var conn ether.Conn
	err := h.Do(func() (err error) {
		conn, err = arp.Open(world.Interface)
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	frame := arp.Frame{
		EthernetDestination: arp.Broadcast(), EthernetSource: h.MAC, Op: arp.OpRequest,
		SenderMAC: h.MAC, SenderIP: stranger().Addr(), TargetIP: stranger().Addr(),
	}.Bytes()
	for range floodFrames {
		if err := conn.Send(frame); err != nil {
			return err
		}
	}
	return nil
}
