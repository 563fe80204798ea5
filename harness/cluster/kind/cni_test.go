// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
)

func TestSplitPods(t *testing.T) {
	parts, err := splitPods("10.244.0.0/16", 3)
	require.NoError(t, err)
	require.Equal(t, []netip.Prefix{
		netip.MustParsePrefix("10.244.0.0/24"), netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("10.244.2.0/24"),
	}, parts)
	parts, err = splitPods("10.9.8.0/22", 10)
	require.NoError(t, err)
	require.Equal(t, "10.9.10.64/26", parts[9].String())
	for _, bad := range []string{"10.0.0.0/25", "fd00::/64", "nonsense"} {
		_, err = splitPods(bad, 3)
		require.Error(t, err, bad)
	}
}

func TestNodeNetwork(t *testing.T) {
	members := []member{
		{"c-control-plane", netip.MustParseAddr("172.20.4.2"), netip.MustParsePrefix("10.244.0.0/24")},
		{"c-worker", netip.MustParseAddr("172.20.4.3"), netip.MustParsePrefix("10.244.1.0/24")},
		{"c-worker2", netip.MustParseAddr("172.20.4.4"), netip.MustParsePrefix("10.244.2.0/24")},
	}
	conf, err := conflist(members[1].PodCIDR, podMTU)
	require.NoError(t, err)
	golden(t, "conflist.json", conf)
	golden(t, "network.sh", []byte(networkScript(members[1], members)))
}

func TestParseIPAddr(t *testing.T) {
	ifs, err := cluster.ParseInterfaces([]byte(`[{"ifname":"lo","flags":["LOOPBACK","UP"],"link_type":"loopback","address":"00:00:00:00:00:00","addr_info":[{"local":"127.0.0.1","prefixlen":8}]},
		{"ifname":"eth0","flags":["BROADCAST","UP"],"link_type":"ether","address":"02:42:AC:14:04:02","addr_info":[{"local":"172.20.4.2","prefixlen":22},{"local":"fe80::42:acff:fe14:402","prefixlen":64}]},
		{"ifname":"veth1","flags":[],"link_type":"ether","address":"aa:00:00:00:00:01"}]`))
	require.NoError(t, err)
	require.Len(t, ifs, 3)
	require.Empty(t, ifs[0].MAC)
	require.Equal(t, "02:42:ac:14:04:02", ifs[1].MAC)
	require.True(t, ifs[1].Up)
	require.Len(t, ifs[1].Addresses, 2)
	require.False(t, ifs[2].Up)
}
