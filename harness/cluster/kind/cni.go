// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// The static CNI: ptp and host-local on each node's part of the pod subnet, and a
// route to each peer's part. The parts are given out here instead of by the
// controller manager, so a node's network is complete before its kubelet starts
// and the node is Ready with its first status.

// member is a node as the static CNI sees it.
type member struct {
	Name    string
	Address netip.Addr // on the segment
	PodCIDR netip.Prefix
}

// splitPods gives n nodes their parts of the pod subnet: /24s where it has room.
func splitPods(subnet string, n int) ([]netip.Prefix, error) {
	p, err := netip.ParsePrefix(subnet)
	if err != nil {
		return nil, fmt.Errorf("split pod subnet: %w", err)
	}
	if !p.Addr().Is4() {
		return nil, fmt.Errorf("split pod subnet %s: not IPv4", subnet)
	}
	bits := max(24, p.Bits()+4) // 16 parts at least
	if bits > 28 {
		return nil, fmt.Errorf("split pod subnet %s: too small for %d nodes", subnet, n)
	}
	base := binary.BigEndian.Uint32(p.Masked().Addr().AsSlice())
	size := uint32(1) << (32 - bits)
	parts := make([]netip.Prefix, n)
	for i := range parts {
		parts[i] = netip.PrefixFrom(fromUint32(base+uint32(i)*size), bits)
		if !p.Contains(parts[i].Addr()) {
			return nil, fmt.Errorf("split pod subnet %s: too small for %d nodes", subnet, n)
		}
	}
	return parts, nil
}

// conflist is a node's CNI configuration.
func conflist(pods netip.Prefix, mtu int) ([]byte, error) {
	type object = map[string]any
	conf := object{
		"cniVersion": "0.4.0",
		"name":       "lbmatrix",
		"plugins": []object{{
			"type":   "ptp",
			"ipMasq": false, // sources stay what they are: source-address is judged
			"mtu":    mtu,
			"ipam": object{
				"type":    "host-local",
				"dataDir": "/run/cni-ipam-state",
				"ranges":  [][]object{{{"subnet": pods.String()}}},
				"routes":  []object{{"dst": "0.0.0.0/0"}},
			},
		}},
	}
	out, err := json.MarshalIndent(conf, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("render CNI configuration: %w", err)
	}
	return append(out, '\n'), nil
}

// networkScript sets up a node: forwarding, a route to each peer's pods, and last
// the configuration it reads from stdin, which is what makes the node Ready.
func networkScript(self member, all []member) string {
	var b strings.Builder
	b.WriteString("set -e\n")
	b.WriteString("echo 1 >/proc/sys/net/ipv4/ip_forward\n")
	b.WriteString(`test "$(cat /proc/sys/net/ipv4/ip_forward)" = 1` + "\n")
	for _, m := range all {
		if m.Name != self.Name {
			fmt.Fprintf(&b, "ip route replace %s via %s\n", m.PodCIDR, m.Address)
		}
	}
	b.WriteString("mkdir -p /etc/cni/net.d\n")
	// Moved into place: containerd must not read half a file.
	b.WriteString("cat >/etc/cni/net.d/.lbmatrix\n")
	b.WriteString("mv /etc/cni/net.d/.lbmatrix /etc/cni/net.d/10-lbmatrix.conflist\n")
	return b.String()
}

func fromUint32(v uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, v)))
}

func toUint32(a netip.Addr) uint32 {
	return binary.BigEndian.Uint32(a.AsSlice())
}
