// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package neigh_test

import (
	"net"
	"os"
	"slices"
	"testing"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/containernetworking/plugins/pkg/testutils"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/lbmatrix/lbmatrix/harness/probe/neigh"
)

func TestFlushDropsWhatWasLearnedOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	space, err := testutils.NewNS()
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, space.Close())
		require.NoError(t, testutils.UnmountNS(space))
	})
	err = space.Do(func(ns.NetNS) error {
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a"}, PeerName: "b"}
		if err := netlink.LinkAdd(link); err != nil {
			return err
		}
		got, err := netlink.LinkByName("a")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(got); err != nil {
			return err
		}
		add := func(ip string, state int) error {
			mac, _ := net.ParseMAC("02:00:00:00:00:01")
			return netlink.NeighAdd(&netlink.Neigh{LinkIndex: got.Attrs().Index, Family: netlink.FAMILY_V4, State: state, IP: net.ParseIP(ip), HardwareAddr: mac})
		}
		if err := add("192.0.2.1", netlink.NUD_STALE); err != nil {
			return err
		}
		if err := add("192.0.2.2", netlink.NUD_PERMANENT); err != nil {
			return err
		}
		six := &netlink.Neigh{
			LinkIndex: got.Attrs().Index, Family: netlink.FAMILY_V6, State: netlink.NUD_STALE,
			IP: net.ParseIP("2001:db8::1"), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		}
		if err := netlink.NeighAdd(six); err != nil {
			return err
		}
		n, err := neigh.Flush("a")
		if err != nil {
			return err
		}
		require.Equal(t, 2, n)
		leftSix, err := netlink.NeighList(got.Attrs().Index, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		require.False(t, slices.ContainsFunc(leftSix, func(e netlink.Neigh) bool { return e.IP.Equal(six.IP) }))
		left, err := netlink.NeighList(got.Attrs().Index, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		require.Len(t, left, 1)
		require.Equal(t, "192.0.2.2", left[0].IP.String())
		_, err = neigh.Flush("nosuch")
		require.ErrorContains(t, err, "nosuch")
		return nil
	})
	require.NoError(t, err)
}
