// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"

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
	ifs, err := cluster.ParseInterfaces(out.Bytes())
	if err != nil {
		return nil, fmt.Errorf("list interfaces of %s: %w", n.name, err)
	}
	return ifs, nil
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
