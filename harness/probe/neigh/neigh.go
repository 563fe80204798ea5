// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package neigh drops a host's neighbour entries, so that it has to resolve every
// address anew: an entry that is still valid carries traffic to a node that no
// longer announces the address.
package neigh

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Flush deletes every neighbour entry of an interface, of IPv4 and IPv6, permanent ones
// excepted, and returns how many there were. It needs CAP_NET_ADMIN.
func Flush(iface string) (int, error) {
	link, err := netlink.LinkByName(iface)
	if err != nil {
		return 0, fmt.Errorf("flush neighbours of %s: %w", iface, err)
	}
	entries, err := netlink.NeighList(link.Attrs().Index, unix.AF_UNSPEC)
	if err != nil {
		return 0, fmt.Errorf("flush neighbours of %s: %w", iface, err)
	}
	n := 0
	for _, e := range entries {
		if e.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0 {
			continue
		}
		// An entry may expire between the two calls.
		if err := netlink.NeighDel(&e); err != nil && !errors.Is(err, unix.ENOENT) {
			return n, fmt.Errorf("flush neighbour %s of %s: %w", e.IP, iface, err)
		}
		n++
	}
	return n, nil
}
