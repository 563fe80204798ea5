// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
)

// Host is one host on a segment.
type Host struct {
	Name    string
	MAC     ether.HardwareAddr
	Address netip.Addr // its first; the zero Addr when it has none

	segment *Segment
	space   ns.NetNS
	port    string // its end at the bridge
}

// Do runs f on a thread in the host's namespace. Sockets that f opens stay there and may
// be used outside; goroutines that f starts do not run there.
func (h *Host) Do(f func() error) error {
	return h.space.Do(func(ns.NetNS) error { return f() })
}

// connect makes the host's link, its end at the bridge, and its addresses.
func (h *Host) connect(addresses []netip.Prefix) error {
	bridge := h.segment.bridge
	err := bridge.Do(func(ns.NetNS) error {
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: h.port}, PeerName: Interface,
			PeerNamespace: netlink.NsFd(int(h.space.Fd())), PeerHardwareAddr: h.MAC[:],
		}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add link: %w", err)
		}
		master, err := netlink.LinkByName(bridgeName)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(veth, master); err != nil {
			return fmt.Errorf("join bridge: %w", err)
		}
		return netlink.LinkSetUp(veth)
	})
	if err != nil {
		return err
	}
	if err := h.Do(func() error { return h.configure(addresses) }); err != nil {
		return err
	}
	return errors.Join(awaitUp(bridge, h.port), awaitUp(h.space, Interface))
}

func (h *Host) configure(addresses []netip.Prefix) error {
	for _, name := range []string{"lo", Interface} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if name == Interface {
			for _, prefix := range addresses {
				if err := addAddress(link, prefix); err != nil {
					return err
				}
			}
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up: %w", name, err)
		}
	}
	return nil
}

// AddAddress gives the host's link one more address. One of IPv6 is used at once, without
// asking whether another host has it.
func (h *Host) AddAddress(prefix netip.Prefix) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(Interface)
		if err != nil {
			return err
		}
		return addAddress(link, prefix)
	})
}

func addAddress(link netlink.Link, prefix netip.Prefix) error {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}}
	if prefix.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("add address %s: %w", prefix, err)
	}
	return nil
}

// upWithin bounds the wait for a carrier. It comes within milliseconds, but from a work
// queue that a busy machine runs late.
const upWithin = 30 * time.Second

// awaitUp waits for the carrier: it comes up in the background, and the bridge forwards
// nothing to a port without.
func awaitUp(space ns.NetNS, name string) error {
	for until := time.Now().Add(upWithin); ; time.Sleep(time.Millisecond) {
		var state netlink.LinkOperState
		err := space.Do(func(ns.NetNS) error {
			link, err := netlink.LinkByName(name)
			if err == nil {
				state = link.Attrs().OperState
			}
			return err
		})
		switch {
		case err != nil:
			return err
		case state == netlink.OperUp:
			return nil
		case time.Now().After(until):
			return fmt.Errorf("wait for the carrier of %s: %s after %s", name, state, upWithin)
		}
	}
}

// Sysctl writes a kernel parameter of the host's network, dots or slashes between its parts.
func (h *Host) Sysctl(key, value string) error {
	path := filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
	return h.Do(func() error {
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set %s: %w", key, err)
		}
		return nil
	})
}

// Dial connects from the host, as net.Dialer.DialContext does. The address must be an
// IP address: names are not resolved there.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return dialFrom(ctx, h.space, h.Name, network, address)
}

func dialFrom(ctx context.Context, space ns.NetNS, name, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dial from %s: %w", name, err)
	}
	var conn net.Conn
	err := space.Do(func(ns.NetNS) error {
		var err error
		// One attempt, in this thread: a second address family raced beside it would run elsewhere.
		conn, err = (&net.Dialer{KeepAlive: -1, FallbackDelay: -1}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// The states of a bridge port (linux/if_bridge.h).
const (
	portDisabled   = 0
	portForwarding = 3
)

// Disconnect makes the bridge drop every frame from and to the host, at once and without
// the host's noticing; Reconnect ends that.
func (h *Host) Disconnect() error { return h.portState(portDisabled) }

// Reconnect undoes Disconnect.
func (h *Host) Reconnect() error { return h.portState(portForwarding) }

// Outage disconnects the host for d, and returns when that began and ended, as nearly as
// can be told: it is when the middle of the change was.
func (h *Host) Outage(d time.Duration) (from, to time.Time, err error) {
	middle := func(change func() error) (time.Time, error) {
		begin := time.Now()
		err := change()
		return begin.Add(time.Since(begin) / 2), err
	}
	if from, err = middle(h.Disconnect); err != nil {
		return from, to, err
	}
	time.Sleep(time.Until(from.Add(d - 2*time.Millisecond)))
	for time.Since(from) < d { // the timer may be late by more than what this is held to
	}
	to, err = middle(h.Reconnect)
	return from, to, err
}

// portState is `bridge link set dev PORT state STATE`, which package netlink lacks.
func (h *Host) portState(state uint8) error {
	return h.segment.bridge.Do(func(ns.NetNS) error {
		link, err := netlink.LinkByName(h.port)
		if err != nil {
			return fmt.Errorf("set port of %s: %w", h.Name, err)
		}
		msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
		msg.Index = int32(link.Attrs().Index)
		info := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
		info.AddRtAttr(nl.IFLA_BRPORT_STATE, []byte{state})
		req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
		req.AddData(msg)
		req.AddData(info)
		if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
			return fmt.Errorf("set port of %s to state %d: %w", h.Name, state, err)
		}
		return nil
	})
}
