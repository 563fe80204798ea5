// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fault

import (
	"context"
	"fmt"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
)

// with lists the nodes that have something.
func (t Target) with(ctx context.Context, has func(context.Context, cluster.Node) (bool, error)) ([]cluster.Node, error) {
	var out []cluster.Node
	for _, n := range t.Nodes {
		there, err := has(ctx, n)
		if err != nil {
			return nil, err
		}
		if there {
			out = append(out, n)
		}
	}
	return out, nil
}

// everywhere says whether as many nodes have something as should: all of them, or none.
func (t Target) everywhere(have []cluster.Node, applied bool, what string) (string, error) {
	want := 0
	if applied {
		want = len(t.Nodes)
	}
	if len(have) != want {
		return "", fmt.Errorf("%d of %d nodes have %s, wanted %d", len(have), len(t.Nodes), what, want)
	}
	return fmt.Sprintf("%d of %d nodes have %s", len(have), len(t.Nodes), what), nil
}

// hasAddress says whether a link of a node has an address of its own (/32).
func hasAddress(ctx context.Context, n cluster.Node, link, addr string) (bool, error) {
	out, err := cluster.Output(ctx, n, "ip", "-o", "address", "show", "dev", link)
	if err != nil {
		return false, fmt.Errorf("list addresses of %s: %w", n.Name(), err)
	}
	return strings.Contains(out, " "+addr+hostBits(addr)+" "), nil
}

// hostBits is the length of a prefix that is one address.
func hostBits(addr string) string {
	if strings.Contains(addr, ":") {
		return "/128"
	}
	return "/32"
}
