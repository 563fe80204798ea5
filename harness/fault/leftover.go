// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
)

// ipvsLink is the link that kube-proxy in ipvs mode puts every VIP on.
const ipvsLink = "kube-ipvs0"

// leftOver gives every node kube-ipvs0 with a VIP: all that answers ARP of what a switch
// from ipvs mode leaves. kube-proxy makes a dummy link; where the kernel has none a bridge
// without ports stands in, for the kernel answers for the addresses of either.
type leftOver struct {
	t   Target
	vip string
}

// links lists the nodes that have the link.
func (f *leftOver) links(ctx context.Context) ([]cluster.Node, error) {
	var out []cluster.Node
	for _, n := range f.t.Nodes {
		links, err := cluster.Output(ctx, n, "ip", "-o", "link", "show")
		if err != nil {
			return nil, fmt.Errorf("list links of %s: %w", n.Name(), err)
		}
		if strings.Contains(links, ": "+ipvsLink+":") {
			out = append(out, n)
		}
	}
	return out, nil
}

func (f *leftOver) Apply(ctx context.Context) (string, error) {
	s, err := f.t.service(ctx, policyCluster)
	if err != nil {
		return "", err
	}
	there, err := f.links(ctx)
	if err == nil && len(there) > 0 {
		err = fmt.Errorf("add %s to %s: it is there already", ipvsLink, there[0].Name())
	}
	if err != nil {
		return "", err
	}
	f.vip = s.VIP
	kind := "dummy"
	for _, n := range f.t.Nodes {
		add := func(kind string) error {
			_, err := cluster.Output(ctx, n, "ip", "link", "add", ipvsLink, "type", kind)
			return err
		}
		err := add(kind)
		if err != nil && kind == "dummy" {
			kind = "bridge"
			if second := add(kind); second != nil {
				err = errors.Join(err, second)
			} else {
				err = nil
			}
		}
		if err != nil {
			return "", fmt.Errorf("add %s to %s: %w", ipvsLink, n.Name(), err)
		}
		if _, err := cluster.Output(ctx, n, "ip", "address", "add", f.vip+"/32", "dev", ipvsLink); err != nil {
			return "", fmt.Errorf("add %s to %s: %w", f.vip, n.Name(), err)
		}
	}
	return fmt.Sprintf("every node has %s (a %s link, down) with %s", ipvsLink, kind, f.vip), nil
}

func (f *leftOver) Verify(ctx context.Context, applied bool) (string, error) {
	there, err := f.links(ctx)
	if err != nil {
		return "", err
	}
	want := 0
	if applied {
		want = len(f.t.Nodes)
	}
	if len(there) != want {
		return "", fmt.Errorf("%d of %d nodes have %s, wanted %d", len(there), len(f.t.Nodes), ipvsLink, want)
	}
	for _, n := range there {
		addresses, err := cluster.Output(ctx, n, "ip", "-o", "address", "show", "dev", ipvsLink)
		if err != nil {
			return "", fmt.Errorf("list addresses of %s: %w", n.Name(), err)
		}
		if !strings.Contains(addresses, " "+f.vip+"/32 ") {
			return "", fmt.Errorf("%s of %s does not have %s", ipvsLink, n.Name(), f.vip)
		}
	}
	return fmt.Sprintf("%d of %d nodes have %s", len(there), len(f.t.Nodes), ipvsLink), nil
}

func (f *leftOver) Undo(ctx context.Context) (string, error) {
	if f.vip == "" {
		return "nothing was added", nil
	}
	there, err := f.links(ctx)
	if err != nil {
		return "", err
	}
	for _, n := range there {
		if _, err := cluster.Output(ctx, n, "ip", "link", "del", ipvsLink); err != nil {
			return "", fmt.Errorf("take %s from %s: %w", ipvsLink, n.Name(), err)
		}
	}
	return fmt.Sprintf("took %s from %d nodes", ipvsLink, len(there)), nil
}
