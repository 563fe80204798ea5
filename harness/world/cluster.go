// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"

	"github.com/lbmatrix/lbmatrix/harness/probe/serve"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// The ports of a pod, as of the backend in a real scenario.
const (
	podHTTP = 8080 // TCP
	podUDP  = 8080
)

// Node is a host that routes between the segment and its pods.
type Node struct {
	*Host
	Gateways []netip.Addr // its addresses towards its pods
	number   int
}

// Node adds a node to the segment.
func (s *Segment) Node(name string, address netip.Prefix) (*Node, error) {
	h, err := s.Host(name, address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	n := &Node{Host: h, number: len(s.hosts)}
	others := s.nodes
	s.nodes = append(s.nodes, n)
	s.mu.Unlock()
	for _, other := range others {
		if err := errors.Join(n.reach(other), other.reach(n)); err != nil {
			return nil, fmt.Errorf("add node %s: %w", name, err)
		}
	}
	for _, setting := range []struct{ key, value string }{
		{"net.ipv4.ip_forward", "1"},
		// A packet that is passed on through the interface it came from is what DSR does.
		{"net.ipv4.conf.all.send_redirects", "0"},
		{"net.ipv4.conf." + Interface + ".send_redirects", "0"},
		{"net.ipv4.conf.all.rp_filter", "0"},
		{"net.ipv4.conf." + Interface + ".rp_filter", "0"},
	} {
		if err := n.Sysctl(setting.key, setting.value); err != nil {
			return nil, fmt.Errorf("add node %s: %w", name, err)
		}
	}
	r, err := newRules(n.space, nftables.TableFamilyIPv4)
	if err != nil {
		return nil, fmt.Errorf("add node %s: %w", name, err)
	}
	chain := r.chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	r.add(chain, join(marked(), []expr.Any{&expr.Masq{}}))
	if err := r.flush(); err != nil {
		return nil, fmt.Errorf("add node %s: %w", name, err)
	}
	return n, nil
}

// pods is the subnet of a node's pods.
func (n *Node) pods() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(n.number), 0}), 24)
}

// reach routes the pods of another node to it.
func (n *Node) reach(other *Node) error { return n.routeVia(other.pods(), other.Address) }

// routeVia adds a route through the segment.
func (n *Node) routeVia(prefix netip.Prefix, gateway netip.Addr) error {
	return n.Do(func() error {
		link, err := netlink.LinkByName(Interface)
		if err != nil {
			return err
		}
		err = netlink.RouteAdd(&netlink.Route{
			LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice(),
			Dst: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())},
		})
		if err != nil {
			return fmt.Errorf("route %s via %s: %w", prefix, gateway, err)
		}
		return nil
	})
}

// Pod is a backend: lbprobe's serve in a namespace behind a node.
type Pod struct {
	Name    string
	Node    *Node
	Address netip.Addr
	Began   time.Time // its Behaviour's stalls count from here
	space   ns.NetNS
}

// Dial connects from the pod, as Host.Dial does from a host.
func (p *Pod) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return dialFrom(ctx, p.space, p.Name, network, address)
}

// Behaviour is what is wrong with a backend. Its connections block as said; what the
// kernel does for them, handshakes among it, goes on.
type Behaviour struct {
	Delay      time.Duration // before each write
	StallFor   time.Duration // it writes nothing for so long
	StallEvery time.Duration // from the beginning of a stall to that of the next; the first begins so long after the start
	HangUp     int           // it closes every n-th connection without a word; 0 is none
}

// Pod starts a backend behind the node. It ends with the segment.
func (n *Node) Pod(ctx context.Context, name string, b Behaviour) (*Pod, error) {
	link := len(n.Gateways)
	// A /30 for each pod: .1 is the node's end, .2 the pod's.
	base := netip.AddrFrom4([4]byte{10, 244, byte(n.number), byte(4 * link)}) // within pods()
	gateway := netip.PrefixFrom(base.Next(), 30)
	address := netip.PrefixFrom(base.Next().Next(), 30)
	p := &Pod{Name: name, Node: n, Address: address.Addr()}
	space, err := n.segment.space()
	p.space = space
	if err == nil {
		err = n.attach(space, fmt.Sprintf("pod%d", link), gateway, address)
	}
	if err != nil {
		return nil, fmt.Errorf("add pod %s: %w", name, err)
	}
	n.Gateways = append(n.Gateways, gateway.Addr())
	p.Began, err = n.backend(ctx, space, name, netip.AddrPortFrom(p.Address, podHTTP), netip.AddrPortFrom(p.Address, podUDP).String(), b)
	if err != nil {
		return nil, fmt.Errorf("add pod %s: %w", name, err)
	}
	return p, nil
}

// Listen starts a backend on the host itself, for HTTP alone. It ends with the segment.
func (h *Host) Listen(ctx context.Context, http netip.AddrPort, b Behaviour) error {
	if _, err := h.backend(ctx, h.space, h.Name, http, "", b); err != nil {
		return fmt.Errorf("listen on %s: %w", h.Name, err)
	}
	return nil
}

// backend starts lbprobe's serve in a namespace, under a name of its own, and says when.
func (h *Host) backend(ctx context.Context, space ns.NetNS, name string, http netip.AddrPort, udp string, b Behaviour) (time.Time, error) {
	var c serve.Config
	err := space.Do(func(ns.NetNS) error {
		var err error
		c, err = serve.Listen(ctx, http.String(), "", udp)
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	c.Pod, c.Node, c.Grace = name, h.Name, time.Millisecond
	began := time.Now()
	c.HTTP = &slowListener{Listener: c.HTTP, behaviour: b, start: began}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- serve.Run(ctx, c, stream.NewWriter(io.Discard)) }()
	h.segment.atEnd(func() error {
		cancel()
		return <-done
	})
	return began, nil
}

// attach links the node to a pod's namespace.
func (n *Node) attach(pod ns.NetNS, name string, gateway, address netip.Prefix) error {
	err := n.Do(func() error {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: Interface, PeerNamespace: netlink.NsFd(int(pod.Fd()))}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add link: %w", err)
		}
		if err := addAddress(veth, gateway); err != nil {
			return err
		}
		return netlink.LinkSetUp(veth)
	})
	if err != nil {
		return err
	}
	err = pod.Do(func(ns.NetNS) error {
		link, err := netlink.LinkByName(Interface)
		if err != nil {
			return err
		}
		if err := addAddress(link, address); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.Addr().AsSlice()}
		if err := netlink.RouteAdd(route); err != nil {
			return fmt.Errorf("add default route: %w", err)
		}
		return nil
	})
	return errors.Join(err, awaitUp(pod, Interface), n.Sysctl("net.ipv4.conf."+name+".rp_filter", "0"))
}

// slowListener is a backend that behaves.
type slowListener struct {
	net.Listener
	behaviour Behaviour
	start     time.Time
	accepted  int // by the one goroutine that accepts
}

func (l *slowListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.accepted++
		if n := l.behaviour.HangUp; n == 0 || l.accepted%n != 0 {
			return slowConn{conn, l}, nil
		}
		if err := conn.Close(); err != nil {
			return nil, err
		}
	}
}

type slowConn struct {
	net.Conn
	listener *slowListener
}

func (c slowConn) Write(b []byte) (int, error) {
	time.Sleep(c.listener.behaviour.Delay)
	time.Sleep(c.listener.behaviour.stalled(time.Since(c.listener.start)))
	return c.Conn.Write(b)
}

// stalled is how long a stall still lasts, at a time since the start.
func (b Behaviour) stalled(since time.Duration) time.Duration {
	if b.StallEvery == 0 || since < b.StallEvery {
		return 0
	}
	return max(0, b.StallFor-since%b.StallEvery)
}
