// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package selftest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/harness/world"
)

// trafficWorlds are about what becomes of requests.
func trafficWorlds() []World {
	healthy := map[string]string{
		"single-responder": codeOK, "responder-is-announcer": codeOK,
		"reachable-cluster-policy": codeOK, "reachable-local-policy": codeOK, "backend-off-announcer": codeOK,
		"backend-on-announcer": codeOK, "every-backend-reached": codeOK, "source-address": codeOK, "direct-server-return": codeOK,
	}
	// What takes observations of its own, asked only where the world is about it.
	whole := want(healthy, "no-endpoint-not-announced", codeOK, "unassigned-address-silent", codeOK, "session-affinity", codeOK,
		"udp-echo", codeOK, "large-datagrams", codeOK, "in-cluster-to-vip", codeOK)
	latency := map[string]string{"connect-latency": codeOK, "request-latency": codeOK}
	dsr := func(sc *scenario.Scenario) { sc.Spec.DataPlane.Forwarding = scenario.ForwardingDSR }
	return []World{
		{ // the first, because it takes longest
			Name: "slow-transfers", Truth: "the backends behind the remote VIP take 20 ms for each piece of an answer, those behind its NodePort none",
			Spec: transfers, Build: func(ctx context.Context, s *Site) error {
				slow := map[*world.Node]*world.Pod{}
				for i, n := range s.workers() {
					var err error
					if slow[n], err = n.Pod(ctx, number("slow", i), world.Behaviour{Delay: 20 * time.Millisecond}); err != nil {
						return err
					}
				}
				return s.traffic(ctx, world.Behaviour{}, func(s *Site) {
					svc := s.service(serviceRemote)
					svc.served.NodePortPods, svc.served.Pods = svc.served.Pods, []*world.Pod{slow[s.other(svc)]}
				})
			},
			// By a hundred, where nothing else runs. Where everything waits for a processor the sure part of
			// it has come down to 2.4, so that the limit is the scenarios' own.
			Want: map[string]string{"throughput": "p50-ratio"},
		},
		{
			Name: "snat", Truth: "requests are translated at the announcer, and replies come back through it",
			Build: served(nil), Want: whole,
		},
		{
			Name: "dsr", Truth: "requests are passed on, and the backend's node answers the client itself",
			Spec: dsr, Build: served(direct), Want: whole,
		},
		{
			Name: "dsr-silently-off", Truth: "DSR is asked for, and the announcer translates",
			Spec: dsr, Build: served(nil),
			Want: want(healthy, "source-address", "cluster-source", "direct-server-return", "reply-path=announcer"),
		},
		{
			Name: "dsr-unasked", Truth: "SNAT is asked for, and the backend's node answers the client itself",
			Build: served(direct),
			Want:  want(healthy, "source-address", "cluster-source", "direct-server-return", "reply-path=backend"),
		},
		{
			Name: "no-forwarding", Truth: "no node forwards",
			Build: afterServing(func(n *world.Node) error { return n.Sysctl("net.ipv4.ip_forward", "0") }),
			Want: want(healthy, "reachable-cluster-policy", "unreachable", "reachable-local-policy", "unreachable", "backend-off-announcer", "unreachable", "backend-on-announcer", "unreachable",
				"every-backend-reached", "unreachable", "source-address", "unreachable", "direct-server-return", "no-reply"),
		},
		{
			Name: "backend-left-out", Truth: "one of four ready backends is never asked",
			Build: served(func(s *Site) { s.service(serviceCluster).served.Pods = s.pods[1:] }),
			Want:  want(healthy, "every-backend-reached", "missing=1"),
		},
		{
			Name: "uneven-spread", Truth: "one of four backends gets five requests of eight",
			Spec: func(sc *scenario.Scenario) { sc.Spec.Limits.Requests = 160 },
			Build: served(func(s *Site) {
				svc := s.service(serviceCluster)
				for range 4 {
					svc.served.Pods = append(svc.served.Pods[:len(svc.served.Pods):len(svc.served.Pods)], s.pods[0])
				}
			}),
			Want: want(healthy, "every-backend-reached", "skew"),
		},
		{
			Name: "stale-backend", Truth: "a pod that is no endpoint any more is still asked",
			Build: served(func(s *Site) { s.service(serviceCluster).endpoints = s.pods[1:] }),
			Want:  want(healthy, "every-backend-reached", "unknown-backend"),
		},
		{
			Name: "local-policy-ignored", Truth: "requests to the Service of policy Local are translated to every pod",
			Build: served(func(s *Site) {
				svc := s.service(serviceLocal)
				svc.served.Pods, svc.served.KeepSource = s.pods, false
			}),
			Want: want(healthy, "reachable-local-policy", "backend-off-announcer", "source-address", "local-source"),
		},
		{
			Name: "remote-is-local", Truth: "the Service whose backends are to be off the announcer is answered there",
			Build: served(func(s *Site) {
				svc := s.service(serviceRemote)
				svc.served.Pods = s.podsOn(svc.announcer)
			}),
			Want: want(healthy, "backend-off-announcer", "backend-on-announcer"),
		},
		{
			Name: "first-segments-lost", Truth: "six of ten SYN to the VIP are lost",
			Build: served(func(s *Site) { s.service(serviceCluster).served.LoseSYN = 60 }),
			Want:  want(healthy, "reachable-cluster-policy", "errors"),
		},
		{
			Name: "long-packets-lost", Truth: "packets of more than 1400 bytes are dropped between nodes and pods",
			Build: afterServing(func(n *world.Node) error { return n.DropLonger(1400) }),
			Want:  want(healthy, "large-datagrams", "lost=1400"),
		},
		{
			Name: "near-is-remote", Truth: "the Service whose backends are to be on the announcer is answered elsewhere",
			Build: served(func(s *Site) {
				svc := s.service(serviceNear)
				svc.served.Pods = s.podsOn(s.other(svc))
			}),
			Want: want(healthy, "backend-on-announcer", "backend-off-announcer"),
		},
		{
			Name: "affinity-forgotten", Truth: "the Service with session affinity chooses a backend anew for each connection",
			Build: served(func(s *Site) { s.service(serviceSticky).served.Sticky = false }),
			Want:  want(healthy, "session-affinity", "spread"),
		},
		{
			Name: "udp-unserved", Truth: "the VIP of policy Cluster is served for TCP only",
			Build: served(func(s *Site) { s.service(serviceCluster).served.UDPPort = 0 }),
			Want:  want(healthy, "udp-echo", "unreachable"),
		},
		{
			Name: "outside-only", Truth: "nodes serve no VIP to clients on themselves and in their pods: the announcer cannot ask the segment for its own",
			Build: served(func(s *Site) { s.outsideOnly = true }),
			Want:  want(healthy, "in-cluster-to-vip", "node-cluster+node-local+pod-cluster+pod-local"),
		},
		{
			Name: "silent-takeover", Truth: "another node took over without gratuitous ARP, and the client still sends to the old one",
			Build: takenOver(false),
			Want:  map[string]string{"single-responder": codeOK, "responder-is-announcer": "not-elected", "reachable-cluster-policy": "unreachable"},
		},
		{
			Name: "announced-takeover", Truth: "another node took over and told the client by gratuitous ARP",
			Build: takenOver(true),
			Want:  map[string]string{"single-responder": codeOK, "responder-is-announcer": "not-elected", "reachable-cluster-policy": codeOK},
		},
		{
			Name: "even-latency", Truth: "the VIP and the NodePort lead to the same backends by the same way",
			Spec: steady, Build: served(nil), Want: want(latency, "throughput", codeOK), Places: all,
		},
		{
			Name: "slow-behind-the-vip", Truth: "the backends behind the VIP take 100 ms to answer, those behind the NodePort none",
			Build: func(ctx context.Context, s *Site) error {
				var slow []*world.Pod
				for i, n := range s.workers() {
					p, err := n.Pod(ctx, number("slow", i), world.Behaviour{Delay: 100 * time.Millisecond})
					if err != nil {
						return err
					}
					slow = append(slow, p)
				}
				return s.traffic(ctx, world.Behaviour{}, func(s *Site) {
					svc := s.service(serviceCluster)
					svc.served.NodePortPods, svc.served.Pods = svc.served.Pods, slow
				})
			},
			// Of 20 ms less than half was sure where other tests' compilers ran as well: what a
			// machine adds to both paths must be small beside it.
			Want: want(latency, "request-latency", "p50-ratio"), Places: all,
		},
		{
			Name: "lossy-vip", Truth: "two of five SYN to the VIP are lost, none to the NodePort",
			Spec: func(sc *scenario.Scenario) { sc.Spec.Limits.LatencyRequests = 280 },
			// A kernel repeats a SYN after 1 s and, since Linux 6.5, after 2 s as well: one in
			// sixteen connections fails.
			Build: served(func(s *Site) { s.service(serviceCluster).served.LoseSYN = 40 }),
			Want:  want(latency, "connect-latency", "errors", "request-latency", "errors"), Places: half,
		},
	}
}

// transfers are few: those of the slow world take seconds.
func transfers(sc *scenario.Scenario) { sc.Spec.Limits.Transfers = 40 }

// steady allows a throughput ratio that scheduling on a busy machine does not reach.
func steady(sc *scenario.Scenario) {
	transfers(sc)
	sc.Spec.Limits.TransferRatioP50, sc.Spec.Limits.TransferRatioP90 = 3, 10
}

// served is a site with pods and Services, changed by more.
func served(more func(*Site)) func(context.Context, *Site) error {
	return func(ctx context.Context, s *Site) error { return s.traffic(ctx, world.Behaviour{}, more) }
}

// afterServing is a healthy site of whose nodes each is changed.
func afterServing(change func(*world.Node) error) func(context.Context, *Site) error {
	return func(ctx context.Context, s *Site) error {
		err := s.traffic(ctx, world.Behaviour{}, nil)
		for _, n := range s.nodes {
			if err == nil {
				err = change(n)
			}
		}
		return err
	}
}

// direct makes the announcers pass requests on to the other worker.
func direct(s *Site) {
	for _, svc := range s.services {
		switch svc.name {
		case serviceLocal, serviceIdle:
			continue
		case serviceNear:
			svc.served.KeepSource = true // it is delivered, not passed on
			continue
		}
		svc.served.Direct, svc.served.NodePort = true, 0
		svc.served.Pods = s.podsOn(s.other(svc))
		svc.endpoints = svc.served.Pods
	}
}

// takenOver is a site whose client knows the announcer of the VIP, which then stops and
// forwards no more; another worker serves and answers for the VIP from then on.
func takenOver(tell bool) func(context.Context, *Site) error {
	return func(ctx context.Context, s *Site) error {
		if err := s.traffic(ctx, world.Behaviour{}, nil); err != nil {
			return err
		}
		s.keepNeighbours = true
		svc := s.service(serviceCluster)
		next := s.other(svc)
		served := svc.served
		served.NodePort = 0
		served.Pods = s.podsOn(next) // it reaches them without the old one
		r, err := next.Respond(world.Script{Addresses: []netip.Addr{svc.vip}})
		if err == nil {
			r.Switch(false)
			err = next.Serve(served)
		}
		if err != nil {
			return err
		}
		if err := s.learn(ctx, svc); err != nil {
			return err
		}
		svc.speaker.Switch(false)
		r.Switch(true)
		if err := svc.announcer.Sysctl("net.ipv4.ip_forward", "0"); err != nil {
			return err
		}
		if tell {
			return r.Announce(svc.vip)
		}
		return nil
	}
}

// learn makes the client resolve a VIP.
func (s *Site) learn(ctx context.Context, svc *service) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	conn, err := s.client.Dial(ctx, "tcp", net.JoinHostPort(svc.vip.String(), number("", servicePort)))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", svc.vip, err)
	}
	return conn.Close()
}
