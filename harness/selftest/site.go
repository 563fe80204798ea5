// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package selftest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/world"
)

// The Services of a site, as of a real scenario.
const (
	serviceCluster = "echo-cluster"
	serviceLocal   = "echo-local"
	serviceRemote  = "echo-remote"
	serviceNear    = "echo-near"
	serviceSticky  = "echo-sticky"
	serviceIdle    = "echo-idle"
)

// The ports of the Services.
const (
	servicePort = 80
	serviceUDP  = 8082
	nodePort    = 30080 // of echo-cluster
	remotePort  = 30082 // of echo-remote
)

// Site is a world's segment: a client, an observer and three nodes, of which the first is
// excluded from load balancing; and what is true of it.
type Site struct {
	segment          *world.Segment
	client, observer *world.Host
	nodes            []*world.Node
	pods             []*world.Pod // two on each worker, once they are there
	services         []*service
	six              bool           // the hosts have IPv6 addresses
	more             []netip.Addr   // VIPs of Services beside those under test
	keepNeighbours   bool           // do not drop what the client has learned before traffic
	before           []func() error // run once the observer's socket is open, before it asks
	outsideOnly      bool           // nodes serve no VIP to clients on themselves and in their pods
	options          Options
}

// service is a Service of the site, and who is to announce it.
type service struct {
	name      string
	vip       netip.Addr
	announcer *world.Node // as MetalLB's election has it
	served    world.Service
	endpoints []*world.Pod // as the API has them
	speaker   *world.Responder
}

func segmentAddr(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, n}) }

// stranger is an address that no node has, and unassigned one that nobody has.
func stranger() netip.Prefix      { return netip.PrefixFrom(segmentAddr(66), 24) }
func unassigned() netip.Addr      { return segmentAddr(250) }
func spare() netip.Addr           { return vipOf(9) } // of the pool, given to no Service
func vipOf(number int) netip.Addr { return segmentAddr(byte(40 + number)) }

func newSite(o Options) (*Site, error) {
	segment, err := world.New()
	if err != nil {
		return nil, err
	}
	s := &Site{segment: segment, options: o}
	fail := func(err error) (*Site, error) { return nil, errors.Join(err, segment.Close()) }
	if s.client, err = segment.Host("client", netip.PrefixFrom(segmentAddr(200), 24)); err != nil {
		return fail(err)
	}
	if s.observer, err = segment.Host("observer", netip.PrefixFrom(segmentAddr(201), 24)); err != nil {
		return fail(err)
	}
	for i, name := range []string{"control-plane", "worker", "worker2"} {
		n, err := segment.Node(name, netip.PrefixFrom(segmentAddr(byte(2+i)), 24))
		if err != nil {
			return fail(err)
		}
		s.nodes = append(s.nodes, n)
	}
	return s, nil
}

// workers are the nodes that may announce.
func (s *Site) workers() []*world.Node { return s.nodes[1:] }

// addService gives the site a Service that nobody serves or announces yet.
func (s *Site) addService(name string) *service {
	vip := vipOf(len(s.services))
	var candidates []string
	for _, n := range s.workers() {
		candidates = append(candidates, n.Name)
	}
	elected := judge.Elect(candidates, vip.String())
	i := slices.IndexFunc(s.nodes, func(n *world.Node) bool { return n.Name == elected })
	svc := &service{name: name, vip: vip, announcer: s.nodes[i]}
	s.services = append(s.services, svc)
	return svc
}

// other is the worker that does not announce the Service.
func (s *Site) other(svc *service) *world.Node {
	i := slices.IndexFunc(s.workers(), func(n *world.Node) bool { return n != svc.announcer })
	return s.workers()[i]
}

// podsOn lists the pods on a node.
func (s *Site) podsOn(n *world.Node) []*world.Pod {
	return slices.DeleteFunc(slices.Clone(s.pods), func(p *world.Pod) bool { return p.Node != n })
}

// announce starts the Service's speaker on its announcer.
func (s *Site) announce(svc *service) (err error) {
	svc.speaker, err = svc.announcer.Respond(world.Script{Addresses: []netip.Addr{svc.vip}})
	return err
}

// traffic makes the pods and Services of a healthy site, changes what the world is about,
// and serves and announces them.
func (s *Site) traffic(ctx context.Context, behaviour world.Behaviour, change func(*Site)) error {
	for _, n := range s.workers() {
		for _, letter := range []string{"a", "b"} {
			p, err := n.Pod(ctx, n.Name+"-"+letter, behaviour)
			if err != nil {
				return err
			}
			s.pods = append(s.pods, p)
		}
	}
	for _, name := range []string{serviceCluster, serviceLocal, serviceRemote, serviceNear, serviceSticky, serviceIdle} {
		svc := s.addService(name)
		svc.served = world.Service{VIP: svc.vip, Port: servicePort, UDPPort: serviceUDP}
		switch name {
		case serviceCluster:
			svc.served.Pods, svc.served.NodePort = s.pods, nodePort
			svc.endpoints = s.pods
		case serviceLocal:
			svc.served.Pods, svc.served.KeepSource = s.podsOn(svc.announcer), true
			svc.endpoints = s.pods
		case serviceRemote:
			svc.served.Pods, svc.served.NodePort = s.podsOn(s.other(svc)), remotePort
			svc.endpoints = svc.served.Pods
		case serviceNear:
			svc.served.Pods = s.podsOn(svc.announcer)
			svc.endpoints = svc.served.Pods
		case serviceSticky:
			svc.served.Pods, svc.served.Sticky = s.pods, true
			svc.endpoints = s.pods
		}
	}
	if change != nil {
		change(s)
	}
	for _, svc := range s.services {
		if len(svc.served.Pods) == 0 {
			continue // nobody is to announce it
		}
		if err := errors.Join(svc.announcer.Serve(svc.served), s.announce(svc), s.serveInside(svc)); err != nil {
			return err
		}
	}
	return nil
}

// serveInside makes every node serve a Service to clients in the cluster.
func (s *Site) serveInside(svc *service) error {
	if s.outsideOnly || svc.name != serviceCluster && svc.name != serviceLocal {
		return nil
	}
	inside := svc.served
	inside.Pods = svc.endpoints
	var errs []error
	for _, n := range s.nodes {
		errs = append(errs, n.ServeInside(inside))
	}
	return errors.Join(errs...)
}

// service finds a Service of the site.
func (s *Site) service(name string) *service {
	i := slices.IndexFunc(s.services, func(svc *service) bool { return svc.name == name })
	return s.services[i]
}

// topology is who is who, as a journal has it.
func (s *Site) topology() journal.Topology {
	member := func(h *world.Host) journal.Member {
		return journal.Member{Name: h.Name, Address: h.Address.String(), MAC: h.MAC.String()}
	}
	t := journal.Topology{
		Subnet: netip.PrefixFrom(segmentAddr(0), 24).String(), Pool: fmt.Sprintf("%s-%s", vipOf(0), vipOf(9)),
		Client: member(s.client), Observer: member(s.observer),
	}
	for i, n := range s.nodes {
		node := journal.Node{Member: member(n.Host), ControlPlane: i == 0, ExcludedFromLB: i == 0, Interface: world.Interface}
		if s.six {
			node.Address6 = addr6(byte(2 + i)).String()
		}
		for _, gateway := range n.Gateways {
			node.OtherAddresses = append(node.OtherAddresses, gateway.String())
		}
		t.Nodes = append(t.Nodes, node)
	}
	return t
}

// objects is what an API server would say.
func (s *Site) objects() journal.Objects {
	objs := journal.Objects{
		Pools:            []journal.Pool{{Name: "pool", Addresses: []string{fmt.Sprintf("%s-%s", vipOf(0), vipOf(9))}}},
		L2Advertisements: []journal.L2Advertisement{{Name: "pool"}},
	}
	for _, svc := range s.services {
		record := journal.Service{
			Name: svc.name, Namespace: "lbmatrix", ExternalTrafficPolicy: "Cluster", VIP: svc.vip.String(),
			Port: servicePort, UDPPort: serviceUDP, NodePort: svc.served.NodePort, SessionAffinity: "None",
		}
		switch svc.name {
		case serviceLocal:
			record.ExternalTrafficPolicy = "Local"
		case serviceRemote:
			record.BackendsOffAnnouncer = true
		case serviceNear:
			record.Role = journal.RoleNear
		case serviceSticky:
			record.Role, record.SessionAffinity = journal.RoleSticky, "ClientIP"
		case serviceIdle:
			record.Role, record.ExternalTrafficPolicy = journal.RoleIdle, "Local"
		}
		objs.Services = append(objs.Services, record)
		for _, p := range svc.endpoints {
			objs.Backends = append(objs.Backends, journal.Backend{Service: svc.name, Pod: p.Name, Node: p.Node.Name, Address: p.Address.String()})
		}
	}
	return objs
}
