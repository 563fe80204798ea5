// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package world

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Service is a load-balancer address as a node's kernel serves it: with nftables, as
// kube-proxy does in that mode, or by plain routing. Nobody answers ARP for it: that is a
// Responder's.
type Service struct {
	VIP      netip.Addr
	Port     int // TCP, to the pods' HTTP
	UDPPort  int // 0 is none
	NodePort int // TCP, at the announcer's own address; 0 is none
	// Pods are the backends. One that stands there twice gets twice its share.
	Pods []*Pod
	// NodePortPods are the backends of the NodePort; nil is Pods.
	NodePortPods []*Pod
	// KeepSource leaves the client's address as it is, as policy Local does. It makes
	// sense only with pods on the announcer.
	KeepSource bool
	// Direct passes requests on to the node of the pods (one node for all of them, not the
	// announcer), which answers the client itself: direct server return.
	Direct bool
	// Sticky chooses the pod by the client's address instead of at random.
	Sticky bool
	// LoseSYN is how many percent of the first packets of connections to the VIP are lost.
	LoseSYN int
}

// Serve makes the node's kernel serve a Service.
func (n *Node) Serve(s Service) error {
	if len(s.Pods) == 0 {
		return fmt.Errorf("serve %s on %s: no pod", s.VIP, n.Name)
	}
	at := n
	if s.Direct {
		at = s.Pods[0].Node
		if at == n || slices.ContainsFunc(s.Pods, func(p *Pod) bool { return p.Node != at }) {
			return fmt.Errorf("serve %s on %s: the pods of a direct path must be on one other node", s.VIP, n.Name)
		}
		if err := n.routeVia(netip.PrefixFrom(s.VIP, s.VIP.BitLen()), at.Address); err != nil {
			return fmt.Errorf("serve %s on %s: %w", s.VIP, n.Name, err)
		}
	}
	if err := at.translate(s, n.Address); err != nil {
		return fmt.Errorf("serve %s on %s: %w", s.VIP, n.Name, err)
	}
	return nil
}

// translate writes the rules of a Service.
func (n *Node) translate(s Service, nodePortAddress netip.Addr) error {
	r, err := newRules(n.space, nftables.TableFamilyIPv4)
	if err != nil {
		return err
	}
	chain := r.chain("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	masquerade := !s.KeepSource && !s.Direct
	// From the segment only: see ServeInside.
	packets := func(protocol byte, addr netip.Addr, port int) []expr.Any {
		return join(in(Interface), packetsTo(protocol, netip.AddrPortFrom(addr, uint16(port))))
	}
	if s.LoseSYN > 0 {
		// Before address translation, which sees each connection's first packet only once.
		early := r.chain("lose", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
		r.add(early, join(packets(unix.IPPROTO_TCP, s.VIP, s.Port), synOnly(), percent(s.LoseSYN), drop()))
	}
	spread(r, chain, packets(unix.IPPROTO_TCP, s.VIP, s.Port), s.Pods, podHTTP, masquerade, s.Sticky)
	if s.UDPPort != 0 {
		spread(r, chain, packets(unix.IPPROTO_UDP, s.VIP, s.UDPPort), s.Pods, podUDP, masquerade, s.Sticky)
	}
	if s.NodePort != 0 {
		pods := s.NodePortPods
		if pods == nil {
			pods = s.Pods
		}
		spread(r, chain, packets(unix.IPPROTO_TCP, nodePortAddress, s.NodePort), pods, podHTTP, masquerade, s.Sticky)
	}
	return r.flush()
}

// ServeInside makes the node serve the Service's VIP to clients on the node itself and in
// its pods, which never meet the announcer. Traffic policies are for those outside.
func (n *Node) ServeInside(s Service) error {
	r, err := newRules(n.space, nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("serve %s inside %s: %w", s.VIP, n.Name, err)
	}
	match := packetsTo(unix.IPPROTO_TCP, netip.AddrPortFrom(s.VIP, uint16(s.Port)))
	pods := r.chain("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	spread(r, pods, join(notThrough(Interface), match), s.Pods, podHTTP, true, false)
	own := r.chain("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	spread(r, own, match, s.Pods, podHTTP, true, false)
	if err := r.flush(); err != nil {
		return fmt.Errorf("serve %s inside %s: %w", s.VIP, n.Name, err)
	}
	return nil
}

// spread sends what matches to one of the pods: the first with probability 1/k, the
// second with 1/(k-1) of the rest, and so on, which is 1/k each.
func spread(r *rules, chain *nftables.Chain, match []expr.Any, pods []*Pod, port int, masquerade, sticky bool) {
	if masquerade {
		r.add(chain, join(match, mark()))
	}
	for i, p := range pods {
		choose := random(len(pods) - i)
		if sticky {
			choose = clientHash(len(pods), i)
		}
		r.add(chain, join(match, choose, to(netip.AddrPortFrom(p.Address, uint16(port)))))
	}
}

// hashSeed is the same in every rule of a choice: without one the kernel makes up another
// for each, and a client may have no pod at all.
const hashSeed = 1

// clientHash matches clients whose address has the hash i of n.
func clientHash(n, i int) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: reg2, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, // source address
		&expr.Hash{SourceRegister: reg2, DestRegister: reg1, Length: 4, Modulus: uint32(n), Seed: hashSeed, Type: expr.HashTypeJenkins},
		equal(host32(uint32(i))),
	}
}

// synOnly matches the first segment of a connection: SYN without ACK (RFC 9293 3.1).
func synOnly() []expr.Any {
	const flagsAt, syn, ack = 13, 0x02, 0x10
	return []expr.Any{
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: flagsAt, Len: 1},
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 1, Mask: []byte{syn | ack}, Xor: []byte{0}},
		equal([]byte{syn}),
	}
}

// ProxyARP makes the host answer ARP for every address that is not its own, as a router
// with proxy_arp does: its default route leads elsewhere.
func (h *Host) ProxyARP() error {
	err := h.Do(func() error {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "away0"}, PeerName: "away1"}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add link: %w", err)
		}
		for _, name := range []string{"away0", "away1"} {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(link); err != nil {
				return err
			}
		}
		link, err := netlink.LinkByName("away0")
		if err != nil {
			return err
		}
		// More specific than the segment's own route: the kernel only stands in for what it
		// would send out through another interface.
		for _, half := range []string{"0.0.0.0/1", "128.0.0.0/1"} {
			_, dst, err := net.ParseCIDR(half)
			if err != nil {
				return err
			}
			if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK}); err != nil {
				return fmt.Errorf("add route: %w", err)
			}
		}
		return nil
	})
	return errors.Join(err, h.Sysctl("net.ipv4.ip_forward", "1"), h.Sysctl("net.ipv4.conf."+Interface+".rp_filter", "0"),
		h.Sysctl("net.ipv4.conf.all.rp_filter", "0"), h.Sysctl("net.ipv4.conf."+Interface+".proxy_arp", "1"),
		h.Sysctl("net.ipv4.neigh."+Interface+".proxy_delay", "0"))
}
