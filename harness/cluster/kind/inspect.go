// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/docker"
)

// container is what this package needs to know of one.
type container struct {
	running bool
	address netip.Prefix
	mac     string
	apiPort string // host port of 6443/tcp; empty where none is published
}

func inspect(ctx context.Context, d *docker.Client, name string) (container, error) {
	out, err := d.Output(ctx, "container", "inspect", name)
	if err != nil {
		return container{}, err
	}
	c, err := parseInspect([]byte(out))
	if err != nil {
		return container{}, fmt.Errorf("inspect %s: %w", name, err)
	}
	return c, nil
}

// parseInspect reads `docker container inspect` of a container on one network.
func parseInspect(data []byte) (container, error) {
	var list []struct {
		State           struct{ Running bool }
		NetworkSettings struct {
			Networks map[string]struct {
				IPAddress   string
				IPPrefixLen int
				MacAddress  string
			}
			Ports map[string][]struct{ HostPort string }
		}
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return container{}, err
	}
	if len(list) != 1 {
		return container{}, fmt.Errorf("want 1 container, got %d", len(list))
	}
	var c container
	c.running = list[0].State.Running
	for _, n := range list[0].NetworkSettings.Networks {
		addr, err := netip.ParseAddr(n.IPAddress)
		if err != nil {
			continue // not running, or not attached yet
		}
		c.address, c.mac = netip.PrefixFrom(addr, n.IPPrefixLen), strings.ToLower(n.MacAddress)
	}
	if ports := list[0].NetworkSettings.Ports["6443/tcp"]; len(ports) > 0 {
		c.apiPort = ports[0].HostPort
	}
	return c, nil
}
