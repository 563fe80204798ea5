// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
)

// member is a machine on the segment.
type member struct {
	*machine
	offset int // of its address in the segment
	// node is the number of a node, from 0, the control plane; -1 for client and observer.
	node int
}

var (
	_ cluster.Node = (*member)(nil)
	_ cluster.Host = (*member)(nil)
)

// ControlPlane implements cluster.Node.
func (m *member) ControlPlane() bool { return m.node == 0 }

// Interfaces implements cluster.Host.
func (m *member) Interfaces(ctx context.Context) ([]cluster.Interface, error) {
	out, err := cluster.Output(ctx, m, "ip", "-j", "addr")
	if err != nil {
		return nil, fmt.Errorf("list interfaces of %s: %w", m.name, err)
	}
	ifs, err := cluster.ParseInterfaces([]byte(out))
	if err != nil {
		return nil, fmt.Errorf("list interfaces of %s: %w", m.name, err)
	}
	return ifs, nil
}

// wire makes the segment: a bridge in a machine of its own, and a cable from it to eth0
// of each member. Links are made between two namespaces: none is ever in this host's.
func wire(ctx context.Context, sw *machine, l layout, members []*member) error {
	var b strings.Builder
	// No forward delay: a port that listens first would lose the first second's frames.
	b.WriteString("link add br0 type bridge forward_delay 0 stp_state 0 mcast_snooping 0\n")
	fmt.Fprintf(&b, "link set br0 address %s up\n", l.mac(offsetGateway))
	for i, m := range members {
		fmt.Fprintf(&b, "link add port%d type veth peer name eth0 address %s netns %d\n", i, l.mac(m.offset), m.pid)
		fmt.Fprintf(&b, "link set port%d master br0 up\n", i)
	}
	// The gateway is there as on any segment, and leads nowhere: the machine with the
	// bridge does not forward.
	fmt.Fprintf(&b, "addr add %s dev br0\n", l.prefix(offsetGateway))
	if err := ipBatch(ctx, sw.pid, b.String()); err != nil {
		return fmt.Errorf("wire the segment: %w", err)
	}
	return nil
}

// routes are what a member knows beyond its own link. Every node forwards, and knows
// where each other's pods are.
func (l layout) routes(m *member, nodes int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ip route add default via %s\n", l.address(offsetGateway))
	if m.node < 0 {
		return b.String()
	}
	b.WriteString("echo 1 >/proc/sys/net/ipv4/ip_forward\n")
	for i := range nodes {
		if i != m.node {
			fmt.Fprintf(&b, "ip route add %s via %s\n", l.podParts[i], l.address(offsetNodes+i))
		}
	}
	if l.six == nil {
		return b.String()
	}
	b.WriteString("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding\n")
	for i := range nodes {
		if i != m.node {
			fmt.Fprintf(&b, "ip route add %s via %s\n", l.six.podPart(i), l.six.address(offsetNodes+i))
		}
	}
	return b.String()
}

// place is a pod's addresses, each with its gateway on the node.
type place struct{ address, gateway netip.Addr }

// host is an address as a prefix of its own.
func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// plug connects a pod's machine to its node's by a cable of its own, as the ptp plugin
// of CNI does: the node is the pod's gateway, and has a route to its addresses.
func plug(ctx context.Context, node *member, pod *machine, number int, mac net.HardwareAddr, places ...place) error {
	// MetalLB leaves links of this name out of what it announces on.
	link := "veth" + strconv.Itoa(number)
	text := fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %d\n", link, mac, pod.pid)
	for _, p := range places {
		text += fmt.Sprintf("addr add %s dev %s\n", host(p.gateway), link)
	}
	text += fmt.Sprintf("link set %s up\n", link)
	var inside strings.Builder
	var addresses []netip.Prefix
	for _, p := range places {
		text += fmt.Sprintf("route add %s dev %s\n", host(p.address), link)
		fmt.Fprintf(&inside, "ip route add %s dev eth0 scope link\nip route add default via %s\n", host(p.gateway), p.gateway)
		addresses = append(addresses, host(p.address))
	}
	if err := ipBatch(ctx, node.pid, text); err != nil {
		return fmt.Errorf("connect pod %s to %s: %w", pod.name, node.name, err)
	}
	return pod.furnish(ctx, inside.String(), addresses...)
}

// ipBatch runs ip's commands in the network namespace of a machine, but with this
// process's view of processes: that is how they name the namespace of the other end.
func ipBatch(ctx context.Context, pid int, commands string) error {
	cmd := exec.CommandContext(ctx, "nsenter", "--target", strconv.Itoa(pid), "--net", "--", "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(commands)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("ip -batch: %w: %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}
