// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
)

// node is a member of the cluster.
type node struct {
	host
	controlPlane bool
}

// ControlPlane implements cluster.Node.
func (n *node) ControlPlane() bool { return n.controlPlane }

// Interfaces asks iproute2, which every node image holds.
func (n *node) Interfaces(ctx context.Context) ([]cluster.Interface, error) {
	var out bytes.Buffer
	if err := n.Run(ctx, cluster.Command{Path: "ip", Args: []string{"-j", "addr"}, Stdout: &out}); err != nil {
		return nil, fmt.Errorf("list interfaces of %s: %w", n.name, err)
	}
	ifs, err := parseIPAddr(out.Bytes())
	if err != nil {
		return nil, fmt.Errorf("list interfaces of %s: %w", n.name, err)
	}
	return ifs, nil
}

// parseIPAddr reads `ip -j addr`.
func parseIPAddr(data []byte) ([]cluster.Interface, error) {
	var links []struct {
		Name  string   `json:"ifname"`
		MAC   string   `json:"address"`
		Type  string   `json:"link_type"`
		Flags []string `json:"flags"`
		Addrs []struct {
			Local  string `json:"local"`
			Length int    `json:"prefixlen"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal(data, &links); err != nil {
		return nil, fmt.Errorf("read ip -j addr: %w", err)
	}
	out := make([]cluster.Interface, 0, len(links))
	for _, l := range links {
		i := cluster.Interface{Name: l.Name, Up: slices.Contains(l.Flags, "UP")}
		if l.Type == "ether" {
			i.MAC = strings.ToLower(l.MAC)
		}
		for _, a := range l.Addrs {
			addr, err := netip.ParseAddr(a.Local)
			if err != nil {
				return nil, fmt.Errorf("read address of %s: %w", l.Name, err)
			}
			i.Addresses = append(i.Addresses, netip.PrefixFrom(addr, a.Length))
		}
		out = append(out, i)
	}
	return out, nil
}

// peer is the client or the observer: a container that holds lbprobe and nothing
// else, on no network but the segment.
type peer struct{ host }

// Interfaces asks docker, for there is no other program in the container. Docker
// names the link of a container's only network eth0.
func (p *peer) Interfaces(ctx context.Context) ([]cluster.Interface, error) {
	d, err := inspect(ctx, p.docker, p.name)
	if err != nil {
		return nil, fmt.Errorf("list interfaces of %s: %w", p.name, err)
	}
	ifs := []cluster.Interface{{Name: "lo", Up: d.running, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}}
	return append(ifs, cluster.Interface{Name: "eth0", MAC: d.mac, Up: d.running, Addresses: []netip.Prefix{d.address}}), nil
}
