// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// Every scenario has a docker network of its own: clusters on one bridge would see
// each other's ARP and faults.

// segmentBits is the size of a segment. Docker gives out addresses of its lowest
// quarter only (--ip-range), so a container that joins late cannot take a VIP.
const segmentBits = 22

// segments is where they are cut from: the private range docker's own pools use.
var segments = netip.MustParsePrefix("172.16.0.0/12")

// createNetwork makes the network with a subnet that overlaps nothing known: no
// docker network, no link of this host, neither of the scenario's subnets.
func createNetwork(ctx context.Context, d *docker.Client, name string, labels []string, s *scenario.Scenario) error {
	taken, err := taken(ctx, d, s)
	if err != nil {
		return fmt.Errorf("create network %s: %w", name, err)
	}
	const attempts = 8
	for _, subnet := range candidates(name, taken, attempts) {
		args := []string{
			"network", "create", "--driver", "bridge", "--subnet", subnet.String(),
			"--gateway", subnet.Addr().Next().String(),
			"--ip-range", netip.PrefixFrom(subnet.Addr(), segmentBits+2).String(),
		}
		for _, l := range labels {
			args = append(args, "--label", l)
		}
		if _, err = d.Output(ctx, append(args, name)...); err == nil {
			return nil
		}
		if strings.Contains(err.Error(), "already exists") {
			err = fmt.Errorf("the name is in use (%w): a run that was killed may have left it: `lbmatrix clean` removes what dead runs left", err)
			break
		}
		// Another run may have taken the subnet since we looked.
		if !strings.Contains(err.Error(), "overlap") {
			break
		}
	}
	if err == nil {
		err = noSegment(s)
	}
	return fmt.Errorf("create network %s: %w", name, err)
}

func noSegment(s *scenario.Scenario) error {
	return fmt.Errorf("no /%d of %s is free: docker's networks, this host's links and routes, podSubnet %s or serviceSubnet %s take it; "+
		"remove networks (`docker network ls`, `lbmatrix clean`), or choose other subnets", segmentBits, segments, podSubnet(s), serviceSubnet(s))
}

// taken is what a scenario's segment must not overlap.
func taken(ctx context.Context, d *docker.Client, s *scenario.Scenario) ([]netip.Prefix, error) {
	all, err := takenSubnets(ctx, d)
	if err != nil {
		return nil, err
	}
	for _, cidr := range []string{podSubnet(s), serviceSubnet(s)} {
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// FreeSegments counts the segments that a scenario's cluster could be given, and says in
// the error why there is none.
func FreeSegments(ctx context.Context, d *docker.Client, s *scenario.Scenario) (free, all int, err error) {
	all = 1 << (segmentBits - segments.Bits())
	overlapped, err := taken(ctx, d, s)
	if err != nil {
		return 0, all, fmt.Errorf("count free segments: %w", err)
	}
	if free = len(candidates("", overlapped, all)); free == 0 {
		return 0, all, noSegment(s)
	}
	return free, all, nil
}

// candidates lists up to n free subnets. Where the search starts depends on the
// name, so that runs that start together rarely try the same one.
func candidates(name string, taken []netip.Prefix, n int) []netip.Prefix {
	count := uint32(1) << (segmentBits - segments.Bits())
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	start := h.Sum32() % count
	base := toUint32(segments.Addr())
	var out []netip.Prefix
	for i := uint32(0); i < count && len(out) < n; i++ {
		p := netip.PrefixFrom(fromUint32(base+(start+i)%count<<(32-segmentBits)), segmentBits)
		free := true
		for _, t := range taken {
			free = free && !t.Overlaps(p)
		}
		if free {
			out = append(out, p)
		}
	}
	return out
}

// takenSubnets are those of docker's networks, of this host's own links, and of routes of
// this host that lead elsewhere: a VPN's, for example.
func takenSubnets(ctx context.Context, d *docker.Client) ([]netip.Prefix, error) {
	ids, err := d.Output(ctx, "network", "ls", "-q")
	if err != nil {
		return nil, err
	}
	var taken []netip.Prefix
	for _, id := range strings.Fields(ids) {
		n, err := inspectNetwork(ctx, d, id)
		if err != nil {
			continue // removed since it was listed
		}
		taken = append(taken, n.subnets...)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this host's addresses: %w", err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			taken = append(taken, p.Masked())
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list this host's routes: %w", err)
	}
	return append(taken, routed(routes)...), nil
}

// routed are the destinations of routes, without those that stand for everything.
func routed(routes []netlink.Route) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		p, err := netip.ParsePrefix(r.Dst.String())
		if err == nil && p.Bits() >= segments.Bits() {
			out = append(out, p.Masked())
		}
	}
	return out
}

// network is what docker says of one.
type network struct {
	subnets []netip.Prefix
	gateway netip.Addr
	inUse   []netip.Addr
}

func inspectNetwork(ctx context.Context, d *docker.Client, name string) (network, error) {
	out, err := d.Output(ctx, "network", "inspect", name)
	if err != nil {
		return network{}, err
	}
	n, err := parseNetwork([]byte(out))
	if err != nil {
		return network{}, fmt.Errorf("inspect network %s: %w", name, err)
	}
	return n, nil
}

func parseNetwork(data []byte) (network, error) {
	var list []struct {
		IPAM struct {
			Config []struct{ Subnet, Gateway string }
		}
		Containers map[string]struct{ IPv4Address string }
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return network{}, err
	}
	if len(list) != 1 {
		return network{}, fmt.Errorf("want 1 network, got %d", len(list))
	}
	var n network
	for _, c := range list[0].IPAM.Config {
		p, err := netip.ParsePrefix(c.Subnet)
		if err != nil || !p.Addr().Is4() {
			continue
		}
		n.subnets = append(n.subnets, p.Masked())
		// Some docker versions write the gateway with a prefix length.
		gw, _, _ := strings.Cut(c.Gateway, "/")
		if a, err := netip.ParseAddr(gw); err == nil {
			n.gateway = a
		}
	}
	for _, c := range list[0].Containers {
		if p, err := netip.ParsePrefix(c.IPv4Address); err == nil {
			n.inUse = append(n.inUse, p.Addr())
		}
	}
	return n, nil
}
