// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package world builds segments of network namespaces whose truth is known, in
// milliseconds: a bridge and hosts on it, scripted responders, kernels that forward and
// translate, and faults. Instruments and checks are proved against them.
//
// Nothing gets an address or a link outside the namespaces that a Segment made, and all
// of it is gone when the Segment is closed or the process ends: a namespace lives as long
// as somebody holds it. It needs CAP_SYS_ADMIN and CAP_NET_ADMIN, which an unprivileged
// user has in a user namespace of their own.
package world

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/vishvananda/netlink"

	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
)

// Interface is the name of every host's interface on the segment.
const Interface = "eth0"

// bridgeName is the name of the bridge in its namespace.
const bridgeName = "br0"

// Segment is one L2 broadcast domain: a bridge in a namespace of its own.
type Segment struct {
	bridge ns.NetNS

	mu     sync.Mutex
	hosts  []*Host
	nodes  []*Node
	spaces []ns.NetNS
	closed []func() error // what else ends with the segment, last first
}

// Available says why segments cannot be built here, or nil.
func Available() error {
	space, err := ns.TempNetNS()
	if err != nil {
		return fmt.Errorf("make a network namespace: %w (it needs CAP_SYS_ADMIN, or a user namespace)", err)
	}
	defer space.Close()
	err = space.Do(func(ns.NetNS) error {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}); err != nil {
			return fmt.Errorf("make a bridge: %w (it needs CAP_NET_ADMIN and the kernel's CONFIG_BRIDGE)", err)
		}
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a"}, PeerName: "b"}); err != nil {
			return fmt.Errorf("make a pair of virtual Ethernet devices: %w (it needs the kernel's CONFIG_VETH)", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return translationAvailable(space)
}

// New makes a segment without hosts.
func New() (*Segment, error) {
	bridge, err := ns.TempNetNS()
	if err != nil {
		return nil, fmt.Errorf("make segment: %w", err)
	}
	s := &Segment{bridge: bridge, spaces: []ns.NetNS{bridge}}
	err = bridge.Do(func(ns.NetNS) error {
		link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}
		if err := netlink.LinkAdd(link); err != nil {
			return fmt.Errorf("make segment: add bridge: %w", err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("make segment: set bridge up: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close ends the responders and backends of the segment and lets go of its namespaces.
func (s *Segment) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for i := len(s.closed) - 1; i >= 0; i-- {
		errs = append(errs, s.closed[i]())
	}
	for _, space := range s.spaces {
		errs = append(errs, space.Close())
	}
	s.closed, s.spaces, s.hosts, s.nodes = nil, nil, nil, nil
	return errors.Join(errs...)
}

// atEnd runs f when the segment is closed.
func (s *Segment) atEnd(f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = append(s.closed, f)
}

// space makes a namespace that ends with the segment.
func (s *Segment) space() (ns.NetNS, error) {
	space, err := ns.TempNetNS()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spaces = append(s.spaces, space)
	return space, nil
}

// Host adds a host with the addresses given on its eth0. Its MAC is made of its number on
// the segment, so that a world is the same each time. IPv6 addresses are used at once,
// without duplicate address detection.
func (s *Segment) Host(name string, addresses ...netip.Prefix) (*Host, error) {
	space, err := s.space()
	if err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	s.mu.Lock()
	number := len(s.hosts) + 1
	h := &Host{
		Name: name, MAC: ether.HardwareAddr{0x02, 0x10, 0, 0, byte(number >> 8), byte(number)},
		segment: s, space: space, port: fmt.Sprintf("port%d", number),
	}
	s.hosts = append(s.hosts, h)
	s.mu.Unlock()
	for _, prefix := range addresses {
		if !h.Address.IsValid() {
			h.Address = prefix.Addr()
		}
	}
	if err := h.connect(addresses); err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	return h, nil
}
