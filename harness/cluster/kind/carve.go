// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"fmt"
	"net/netip"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
)

// carve finds, from the top of the subnet down, size free addresses in a row for
// VIPs and one more that stays unassigned. The network's own and the broadcast
// address count as in use whether or not they are listed.
func carve(subnet netip.Prefix, gateway netip.Addr, inUse []netip.Addr, size int) (cluster.Segment, error) {
	fail := func(why string) (cluster.Segment, error) {
		return cluster.Segment{}, fmt.Errorf("carve %d VIPs out of %s (%d addresses in use): %s", size, subnet, len(inUse), why)
	}
	if !subnet.Addr().Is4() {
		return fail("not IPv4")
	}
	if size < 1 {
		return fail("no size")
	}
	if subnet.Bits() > 30 || subnet.Bits() < 8 {
		return fail("want a prefix length from 8 to 30")
	}
	subnet = subnet.Masked()
	network := toUint32(subnet.Addr())
	broadcast := network | (1<<(32-subnet.Bits()) - 1)
	busy := map[uint32]bool{}
	list := make([]netip.Addr, 0, len(inUse)+2)
	take := func(a netip.Addr) {
		if a.Is4() && !busy[toUint32(a)] {
			busy[toUint32(a)] = true
			list = append(list, a)
		}
	}
	if gateway.IsValid() {
		take(gateway)
	}
	for _, a := range inUse {
		take(a)
	}
	take(fromUint32(broadcast))

	var first, last uint32
	run := 0
	for a := broadcast - 1; a > network; a-- {
		if busy[a] {
			run = 0
			continue
		}
		if run == 0 {
			last = a
		}
		if run++; run == size {
			first = a
			break
		}
	}
	if run < size {
		return fail("no free range is long enough")
	}
	for a := broadcast - 1; a > network; a-- {
		if busy[a] || (a >= first && a <= last) {
			continue
		}
		return cluster.Segment{
			Subnet: subnet, Gateway: gateway, InUse: list,
			First: fromUint32(first), Last: fromUint32(last), Unassigned: fromUint32(a),
		}, nil
	}
	return fail("no address is left to stay unassigned")
}
