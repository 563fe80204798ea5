// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// segmentBits is the size of a segment, bigBits that of one for more VIPs than it has room
// for, and segments what they are cut from. Nothing outside of the cluster sees them, so
// they need not differ from anybody's.
const (
	segmentBits = 22
	bigBits     = 20
)

var segments = netip.MustParsePrefix("172.16.0.0/12")

// Where the members are in their segment, counted from its first address.
const (
	offsetGateway  = 1
	offsetNodes    = 10
	offsetClient   = 200
	offsetObserver = 201
)

// reserve are the addresses of a segment that are neither members' nor VIPs: its own, the
// broadcast one, and the one below the pool that stays nobody's.
const reserve = 3

// layout is who has which address: a function of the scenario alone, so that two runs
// of it look the same on the wire.
type layout struct {
	subnet   netip.Prefix
	services netip.Prefix
	pods     netip.Prefix
	podParts []netip.Prefix // a node's each
	seed     [4]byte
	vips     int
	six      *layout6 // nil where there is no IPv6
}

// layout6 is the IPv6 half: parts of one /48 of unique local addresses (RFC 4193), whose
// global ID is the scenario's. Members have the offsets that they have in the IPv4 segment.
type layout6 struct{ global [5]byte }

// Where the parts are, by subnet ID, and the VIPs in their segment.
const (
	subnetSegment6  = 0
	subnetServices6 = 1
	subnetPods6     = 0x100 // and one for each node
	offsetVIPs6     = 0x1000
	vips6           = 16
)

func (l layout6) subnet(id uint16, bits int) netip.Prefix {
	a := [16]byte{0: 0xfd}
	copy(a[1:], l.global[:])
	binary.BigEndian.PutUint16(a[6:], id)
	return netip.PrefixFrom(netip.AddrFrom16(a), bits)
}

// at is the n-th address of a subnet.
func (l layout6) at(id uint16, n uint32) netip.Addr {
	a := l.subnet(id, 64).Addr().As16()
	binary.BigEndian.PutUint32(a[12:], n)
	return netip.AddrFrom16(a)
}

func (l layout6) segment() netip.Prefix         { return l.subnet(subnetSegment6, 64) }
func (l layout6) services() netip.Prefix        { return l.subnet(subnetServices6, 112) }
func (l layout6) pods() netip.Prefix            { return l.subnet(subnetPods6, 56) }
func (l layout6) podPart(node int) netip.Prefix { return l.subnet(subnetPods6+uint16(node), 64) }
func (l layout6) address(offset int) netip.Addr { return l.at(subnetSegment6, uint32(offset)) }

// pod is the n-th pod's address on a node; the first address is every pod's gateway.
func (l layout6) pod(node, n int) (address, gateway netip.Addr) {
	return l.at(subnetPods6+uint16(node), uint32(n)+1), l.at(subnetPods6+uint16(node), 1)
}

func newLayout(s *scenario.Scenario) (layout, error) {
	l := layout{vips: s.Spec.LoadBalancer.PoolSize}
	var err error
	if l.services, err = netip.ParsePrefix(s.Spec.Cluster.ServiceSubnet); err != nil {
		return l, fmt.Errorf("lay out the segment: Service subnet: %w", err)
	}
	if l.pods, err = netip.ParsePrefix(s.Spec.Cluster.PodSubnet); err != nil {
		return l, fmt.Errorf("lay out the segment: pod subnet: %w", err)
	}
	nodes := s.Spec.Cluster.Workers + 1
	if l.podParts, err = split(l.pods, nodes); err != nil {
		return l, fmt.Errorf("lay out the segment: %w", err)
	}
	sum := sha256.Sum256([]byte(s.Metadata.Name))
	copy(l.seed[:], sum[:])
	if s.Spec.Cluster.DualStack() {
		l.six = &layout6{}
		copy(l.six.global[:], sum[8:])
	}
	bits := segmentBits
	if offsetObserver+l.vips+reserve > 1<<(32-segmentBits) {
		bits = bigBits
	}
	count := uint32(1) << (bits - segments.Bits())
	start := binary.BigEndian.Uint32(sum[4:]) % count
	for i := range count {
		base := toUint32(segments.Addr()) + (start+i)%count<<(32-bits)
		l.subnet = netip.PrefixFrom(fromUint32(base), bits)
		if !l.subnet.Overlaps(l.services) && !l.subnet.Overlaps(l.pods) {
			return l, nil
		}
	}
	return l, fmt.Errorf("lay out the segment: no /%d of %s is outside of %s and %s", bits, segments, l.services, l.pods)
}

// split gives n nodes their parts of the pod subnet: /24s where it has room.
func split(pods netip.Prefix, n int) ([]netip.Prefix, error) {
	bits := max(24, pods.Bits()+4) // 16 parts at least
	if bits > 28 || !pods.Addr().Is4() || n > 1<<(bits-pods.Bits()) {
		return nil, fmt.Errorf("pod subnet %s is too small for %d nodes", pods, n)
	}
	parts := make([]netip.Prefix, n)
	for i := range parts {
		parts[i] = netip.PrefixFrom(fromUint32(toUint32(pods.Masked().Addr())+uint32(i)<<(32-bits)), bits)
	}
	return parts, nil
}

func (l layout) address(offset int) netip.Addr {
	return fromUint32(toUint32(l.subnet.Addr()) + uint32(offset))
}

// prefix is an address with the length of the segment's, as links have it.
func (l layout) prefix(offset int) netip.Prefix {
	return netip.PrefixFrom(l.address(offset), l.subnet.Bits())
}

// prefixes are the addresses of a member, as its link has them.
func (l layout) prefixes(offset int) []netip.Prefix {
	out := []netip.Prefix{l.prefix(offset)}
	if l.six != nil {
		out = append(out, netip.PrefixFrom(l.six.address(offset), l.six.segment().Bits()))
	}
	return out
}

// addresses are those of a member.
func (l layout) addresses(offset int) []netip.Addr {
	var out []netip.Addr
	for _, p := range l.prefixes(offset) {
		out = append(out, p.Addr())
	}
	return out
}

// pod is where the n-th pod of a node is, from 1.
func (l layout) pod(node, n int) ([]place, error) {
	part := l.podParts[node]
	// The first address is the subnet's own, the second every pod's gateway.
	address, gateway := fromUint32(toUint32(part.Addr())+1+uint32(n)), part.Addr().Next()
	if !part.Contains(address.Next()) {
		return nil, fmt.Errorf("%s has no address left", part)
	}
	out := []place{{address, gateway}}
	if l.six != nil {
		six, gateway := l.six.pod(node, n)
		out = append(out, place{six, gateway})
	}
	return out, nil
}

// both lists an IPv4 network or address and its IPv6 counterpart, where there is one.
func both[T fmt.Stringer](l layout, four T, six func(layout6) T) []string {
	out := []string{four.String()}
	if l.six != nil {
		out = append(out, six(*l.six).String())
	}
	return out
}

// mac is a locally administered unicast address (the two lowest bits of its first octet
// are 10): from the scenario, and from the member's place in the segment.
func (l layout) mac(offset int) net.HardwareAddr {
	return net.HardwareAddr{0x02, l.seed[0], l.seed[1], l.seed[2], byte(offset >> 8), byte(offset)}
}

// segment says what is free: the VIPs are the last addresses before the broadcast one,
// and the one before them is nobody's.
func (l layout) segment(nodes int) cluster.Segment {
	broadcast := toUint32(l.subnet.Addr()) | (1<<(32-l.subnet.Bits()) - 1)
	first := broadcast - uint32(l.vips)
	s := cluster.Segment{
		Subnet: l.subnet, Gateway: l.address(offsetGateway),
		First: fromUint32(first), Last: fromUint32(broadcast - 1), Unassigned: fromUint32(first - 1),
		InUse: []netip.Addr{l.address(offsetGateway)},
	}
	for i := range nodes {
		s.InUse = append(s.InUse, l.address(offsetNodes+i))
	}
	if l.six != nil {
		s.Subnet6, s.First6, s.Last6 = l.six.segment(), l.six.address(offsetVIPs6), l.six.address(offsetVIPs6+vips6-1)
	}
	s.InUse = append(s.InUse, l.address(offsetClient), l.address(offsetObserver))
	return s
}

// service is the n-th address of the Service subnet; the first is the API server's.
func (l layout) service(n uint32) netip.Addr {
	return fromUint32(toUint32(l.services.Masked().Addr()) + n)
}

// nodeNames are those that kind gives, control plane first.
func nodeNames(cluster string, workers int) []string {
	names := []string{cluster + "-control-plane"}
	for i := range workers {
		name := cluster + "-worker"
		if i > 0 {
			name += strconv.Itoa(i + 1)
		}
		names = append(names, name)
	}
	return names
}

func fromUint32(v uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, v)))
}

func toUint32(a netip.Addr) uint32 { return binary.BigEndian.Uint32(a.AsSlice()) }
