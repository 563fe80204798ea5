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
	return f.t.with(ctx, func(ctx context.Context, n cluster.Node) (bool, error) {
		links, err := cluster.Output(ctx, n, "ip", "-o", "link", "show")
		if err != nil {
			return false, fmt.Errorf("list links of %s: %w", n.Name(), err)
		}
		return strings.Contains(links, ": "+ipvsLink+":"), nil
	})
}

// addLink makes the link on a node, and says of which kind it is.
func addLink(ctx context.Context, n cluster.Node) (kind string, err error) {
	var errs []error
	for _, kind := range []string{"dummy", "bridge"} {
		_, err := cluster.Output(ctx, n, "ip", "link", "add", ipvsLink, "type", kind)
		if err == nil {
			return kind, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("add %s to %s: %w", ipvsLink, n.Name(), errors.Join(errs...))
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
	var kind string
	for _, n := range f.t.Nodes {
		if kind, err = addLink(ctx, n); err != nil {
			return "", err
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
	seen, err := f.t.everywhere(there, applied, ipvsLink)
	if err != nil {
		return "", err
	}
	for _, n := range there {
		has, err := hasAddress(ctx, n, ipvsLink, f.vip)
		if err != nil {
			return "", err
		}
		if !has {
			return "", fmt.Errorf("%s of %s does not have %s", ipvsLink, n.Name(), f.vip)
		}
	}
	return seen, nil
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
