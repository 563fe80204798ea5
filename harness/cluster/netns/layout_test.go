// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func scenarioOf(name string, workers, vips int) *scenario.Scenario {
	s := &scenario.Scenario{}
	s.Metadata.Name, s.Spec.Cluster.Workers, s.Spec.LoadBalancer.PoolSize = name, workers, vips
	s.SetDefaults()
	return s
}

// Everybody is in the subnet, nobody twice, and the VIPs are nobody's.
func TestLayoutGivesEachAddressOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		workers, vips := rapid.IntRange(1, 120).Draw(t, "workers"), rapid.IntRange(2, 1100).Draw(t, "vips")
		sc := scenarioOf(rapid.StringMatching(`[a-z]{1,20}`).Draw(t, "name"), workers, vips)
		// Subnets that may lie where the segment would.
		sc.Spec.Cluster.PodSubnet = fmt.Sprintf("172.%d.0.0/16", rapid.IntRange(16, 31).Draw(t, "pods"))
		l, err := newLayout(sc)
		require.NoError(t, err)
		again, err := newLayout(sc)
		require.NoError(t, err)
		require.Equal(t, l, again)
		require.False(t, l.subnet.Overlaps(l.pods) || l.subnet.Overlaps(l.services))
		s := l.segment(workers + 1)
		seen := map[netip.Addr]bool{}
		for _, a := range append(s.InUse, s.Unassigned) {
			require.False(t, seen[a], "%s twice", a)
			seen[a] = true
			require.True(t, l.subnet.Contains(a), "%s is outside of %s", a, l.subnet)
			require.True(t, a.Less(s.First) || s.Last.Less(a), "%s is a VIP", a)
		}
		require.Len(t, s.InUse, workers+4)
		n := 0
		for a := s.First; !s.Last.Less(a); a = a.Next() {
			require.True(t, l.subnet.Contains(a), "VIP %s is outside of %s", a, l.subnet)
			n++
		}
		require.Equal(t, vips, n)
		require.True(t, l.subnet.Contains(s.Last.Next()), "the last address is broadcast's")
		require.False(t, l.subnet.Contains(s.Last.Next().Next()))
		macs := map[string]bool{}
		for _, offset := range []int{offsetGateway, offsetNodes, offsetNodes + workers, offsetClient, offsetObserver} {
			mac := l.mac(offset)
			require.Equal(t, byte(2), mac[0]&3, "locally administered, unicast")
			require.False(t, macs[mac.String()])
			macs[mac.String()] = true
		}
	})
}

func TestLayoutDependsOnTheScenarioAlone(t *testing.T) {
	l, err := newLayout(scenarioOf("kube-proxy-iptables-metallb-l2", 2, 10))
	require.NoError(t, err)
	require.Equal(t, "172.19.212.0/22", l.subnet.String())
	require.Equal(t, "172.19.212.10", l.address(offsetNodes).String())
	require.Equal(t, "02:6b:c9:85:00:0b", l.mac(offsetNodes+1).String())
	require.Equal(t, "172.19.215.245", l.segment(3).First.String())
	require.Equal(t, "172.19.215.244", l.segment(3).Unassigned.String())
	require.Equal(t, "10.96.0.1", l.service(1).String())
}

// A segment is as large as it has to be, and no larger.
func TestLayoutGrowsWithTheVIPs(t *testing.T) {
	for vips, bits := range map[int]int{10: 22, 820: 22, 821: 20, 1100: 20} {
		l, err := newLayout(scenarioOf("many", 99, vips))
		require.NoError(t, err)
		require.Equal(t, bits, l.subnet.Bits(), "%d VIPs", vips)
		require.True(t, l.address(offsetObserver).Less(l.segment(100).Unassigned), "%d VIPs", vips)
	}
}

func TestPodSubnetIsSplit(t *testing.T) {
	parts, err := split(netip.MustParsePrefix("10.244.0.0/16"), 3)
	require.NoError(t, err)
	require.Equal(t, "[10.244.0.0/24 10.244.1.0/24 10.244.2.0/24]", fmt.Sprint(parts))
	_, err = split(netip.MustParsePrefix("10.0.0.0/25"), 3)
	require.ErrorContains(t, err, "too small")
	_, err = split(netip.MustParsePrefix("10.0.0.0/20"), 17)
	require.ErrorContains(t, err, "too small")
}

func TestOptionsSayWhatIsMissing(t *testing.T) {
	err := (&Options{Dir: "relative"}).check()
	for _, want := range []string{"no name", "no scenario", "no ledger", "no absolute results folder", "no program etcd", "no program lbprobe"} {
		require.ErrorContains(t, err, want)
	}
}

// The members of a segment with IPv6 have what they have there by their offsets, and no
// part overlaps another.
func TestDualStackLayout(t *testing.T) {
	sc := scenarioOf("kube-proxy-iptables-metallb-l2", 120, 10)
	sc.Spec.Cluster.IPFamily = scenario.Dual
	l, err := newLayout(sc)
	require.NoError(t, err)
	require.Equal(t, "fd5b:4ac6:979::/64", l.six.segment().String())
	require.Equal(t, []string{"172.19.212.10/22", "fd5b:4ac6:979::a/64"}, []string{l.prefixes(offsetNodes)[0].String(), l.prefixes(offsetNodes)[1].String()})
	places, err := l.pod(2, 5)
	require.NoError(t, err)
	require.Equal(t, []string{"10.244.2.6", "10.244.2.1", "fd5b:4ac6:979:102::6", "fd5b:4ac6:979:102::1"},
		[]string{places[0].address.String(), places[0].gateway.String(), places[1].address.String(), places[1].gateway.String()})
	require.Equal(t, []string{l.services.String(), l.six.services().String()}, both(l, l.services, layout6.services))
	s := l.segment(121)
	require.True(t, s.Subnet6.Contains(s.First6) && s.Subnet6.Contains(s.Last6) && s.First6.Less(s.Last6))
	for _, offset := range []int{offsetGateway, offsetNodes, offsetNodes + 120, offsetClient, offsetObserver} {
		require.True(t, l.six.address(offset).Less(s.First6), "%s is a VIP", l.six.address(offset))
	}
	parts := []netip.Prefix{l.six.segment(), l.six.services()}
	for node := range 121 {
		require.True(t, l.six.pods().Overlaps(l.six.podPart(node)))
		parts = append(parts, l.six.podPart(node))
	}
	for i, a := range parts {
		for _, b := range parts[:i] {
			require.False(t, a.Overlaps(b), "%s and %s", a, b)
		}
	}
	require.False(t, l.six.pods().Overlaps(l.six.segment()) || l.six.pods().Overlaps(l.six.services()))

	plain, err := newLayout(scenarioOf("kube-proxy-iptables-metallb-l2", 2, 10))
	require.NoError(t, err)
	require.Nil(t, plain.six)
	require.Len(t, plain.prefixes(offsetNodes), 1)
	require.Equal(t, []string{"10.96.0.0/16"}, both(plain, plain.services, layout6.services))
}
