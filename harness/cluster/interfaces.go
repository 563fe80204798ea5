// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package cluster

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ParseInterfaces reads what `ip -j addr` (iproute2) prints.
func ParseInterfaces(data []byte) ([]Interface, error) {
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
	out := make([]Interface, 0, len(links))
	for _, l := range links {
		i := Interface{Name: l.Name, Up: slices.Contains(l.Flags, "UP")}
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
