// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func TestCarve(t *testing.T) {
	subnet := netip.MustParsePrefix("172.20.4.0/22")
	gw := netip.MustParseAddr("172.20.4.1")
	s, err := carve(subnet, gw, []netip.Addr{netip.MustParseAddr("172.20.4.2"), netip.MustParseAddr("172.20.7.250")}, 10)
	require.NoError(t, err)
	require.Equal(t, "172.20.7.240", s.First.String())
	require.Equal(t, "172.20.7.249", s.Last.String())
	require.Equal(t, "172.20.7.254", s.Unassigned.String())
	require.Contains(t, s.InUse, gw)
	require.Contains(t, s.InUse, netip.MustParseAddr("172.20.7.255"))
}

func TestCarveProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(24, 30).Draw(t, "bits")
		subnet := netip.PrefixFrom(fromUint32(rapid.Uint32().Draw(t, "base")), bits).Masked()
		base, count := toUint32(subnet.Addr()), uint32(1)<<(32-bits)
		var inUse []netip.Addr
		busy := map[uint32]bool{base: true, base + count - 1: true}
		for _, off := range rapid.SliceOfN(rapid.Uint32Range(0, count-1), 0, 40).Draw(t, "in use") {
			inUse = append(inUse, fromUint32(base+off))
			busy[base+off] = true
		}
		gw := fromUint32(base + rapid.Uint32Range(1, count-2).Draw(t, "gateway"))
		busy[toUint32(gw)] = true
		size := rapid.IntRange(1, 60).Draw(t, "size")

		s, err := carve(subnet, gw, inUse, size)
		if err != nil {
			// It must be true: no run of the size with one more address to spare.
			longest, run, free := 0, 0, 0
			for a := base; a < base+count-1; a++ {
				if busy[a] {
					run = 0
					continue
				}
				run++
				free++
				longest = max(longest, run)
			}
			if longest >= size && free > size {
				t.Fatalf("refused although it fits: %v", err)
			}
			return
		}
		if got := int(toUint32(s.Last)-toUint32(s.First)) + 1; got != size {
			t.Fatalf("size %d, want %d", got, size)
		}
		for a := toUint32(s.First); a <= toUint32(s.Last); a++ {
			if busy[a] || !subnet.Contains(fromUint32(a)) {
				t.Fatalf("%s is not free", fromUint32(a))
			}
		}
		u := toUint32(s.Unassigned)
		if busy[u] || !subnet.Contains(s.Unassigned) || (u >= toUint32(s.First) && u <= toUint32(s.Last)) {
			t.Fatalf("unassigned %s is not", s.Unassigned)
		}
	})
}

func TestCandidatesOverlapNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		var taken []netip.Prefix
		for _, v := range rapid.SliceOfN(rapid.Uint32Range(0, 1<<20-1), 0, 12).Draw(t, "taken") {
			taken = append(taken, netip.PrefixFrom(fromUint32(toUint32(segments.Addr())+v), rapid.IntRange(14, 30).Draw(t, "bits")).Masked())
		}
		seen := map[netip.Prefix]bool{}
		for _, p := range candidates(name, taken, 8) {
			if p.Bits() != segmentBits || !segments.Contains(p.Addr()) || p != p.Masked() || seen[p] {
				t.Fatalf("bad candidate %s", p)
			}
			seen[p] = true
			for _, x := range taken {
				if x.Overlaps(p) {
					t.Fatalf("%s overlaps %s", p, x)
				}
			}
		}
	})
	all := []netip.Prefix{segments}
	require.Empty(t, candidates("x", all, 8))
}

// A VPN's route is taken, one that stands for everything is not.
func TestRoutesAreTaken(t *testing.T) {
	route := func(cidr string) netlink.Route {
		_, dst, err := net.ParseCIDR(cidr)
		require.NoError(t, err)
		return netlink.Route{Dst: dst}
	}
	got := routed([]netlink.Route{{}, route("0.0.0.0/0"), route("128.0.0.0/1"), route("172.16.0.0/12"), route("172.20.4.9/32")})
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("172.20.4.9/32")}, got)
	require.Empty(t, candidates("x", got[:1], 8))
	s := &scenario.Scenario{}
	s.SetDefaults()
	require.ErrorContains(t, noSegment(s), "no /22 of 172.16.0.0/12 is free")
	require.ErrorContains(t, noSegment(s), "docker network ls")
}

// A network of the same name is not taken for one of ours, and nothing more is tried.
func TestNameInUse(t *testing.T) {
	bin := t.TempDir()
	script := `#!/bin/sh
echo "$@" >>` + bin + `/asked
case "$1 $2" in
"network create") echo "Error response from daemon: network with name x already exists" >&2; exit 1 ;;
esac
`
	require.NoError(t, os.WriteFile(filepath.Join(bin, "docker"), []byte(script), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	s := &scenario.Scenario{}
	s.SetDefaults()
	err := createNetwork(t.Context(), &docker.Client{Host: "unix:///no/such"}, "x", nil, s)
	require.ErrorContains(t, err, "the name is in use")
	require.ErrorContains(t, err, "lbmatrix clean")
	asked, err := os.ReadFile(filepath.Join(bin, "asked"))
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(asked), "network create"))
}

func TestParseNetwork(t *testing.T) {
	n, err := parseNetwork([]byte(`[{"Name":"x","IPAM":{"Config":[{"Subnet":"fc00::/64"},{"Subnet":"172.20.4.0/22","Gateway":"172.20.4.1"}]},
		"Containers":{"a":{"IPv4Address":"172.20.4.3/22"},"b":{"IPv4Address":""}}}]`))
	require.NoError(t, err)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("172.20.4.0/22")}, n.subnets)
	require.Equal(t, "172.20.4.1", n.gateway.String())
	require.Len(t, n.inUse, 1)
}

func TestParseInspect(t *testing.T) {
	c, err := parseInspect([]byte(`[{"State":{"Running":true},"NetworkSettings":{"Ports":{"6443/tcp":[{"HostIp":"127.0.0.1","HostPort":"49153"}]},
		"Networks":{"x":{"IPAddress":"172.20.4.2","IPPrefixLen":22,"MacAddress":"02:42:AC:14:04:02"}}}}]`))
	require.NoError(t, err)
	require.Equal(t, container{running: true, address: netip.MustParsePrefix("172.20.4.2/22"), mac: "02:42:ac:14:04:02", apiPort: "49153"}, c)
}
