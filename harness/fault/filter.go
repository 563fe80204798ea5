// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fault

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// filterTable is the nftables table of a packet filter that a fault puts on the nodes.
const filterTable = "lbmatrix_fault"

// filter drops some packets on every node, by an nftables table of its own: no rule of the
// data plane is touched.
//
// Cilium's replacement takes packets before netfilter sees them, so these faults are for
// kube-proxy.
type filter struct {
	t Target
	// rule gives a chain's hook with its priority, and the rule in it.
	rule func(ctx context.Context, t Target) (hook, rule string, err error)
}

// Where the chains hook in: raw is before the VIP is rewritten, and after fragments were
// put together for conntrack; forward is after that.
const (
	beforeDNAT = "prerouting priority raw"
	forwarded  = "forward priority filter"
)

// forService makes a filter's rule for one Service under test.
func forService(purpose, hook string, rule func(s journal.Service) string) func(context.Context, Target) (string, string, error) {
	return func(ctx context.Context, t Target) (string, string, error) {
		s, err := t.service(ctx, purpose)
		if err != nil {
			return "", "", err
		}
		return hook, rule(s), nil
	}
}

func newUDPDropped(t Target) Fault {
	return &filter{t: t, rule: forService(policyCluster, beforeDNAT, func(s journal.Service) string {
		return fmt.Sprintf("ip daddr %s udp dport %d drop", s.VIP, s.UDPPort)
	})}
}

// newLargeDatagramsDropped lets 1400 bytes pass: with the header of UDP they are 1408.
func newLargeDatagramsDropped(t Target) Fault {
	return &filter{t: t, rule: forService(remote, beforeDNAT, func(s journal.Service) string {
		return fmt.Sprintf("ip daddr %s udp length > 1408 drop", s.VIP)
	})}
}

func newNearBackendsCut(t Target) Fault {
	return &filter{t: t, rule: forService(journal.RoleNear, forwarded, func(s journal.Service) string {
		return fmt.Sprintf("ct original ip daddr %s drop", s.VIP)
	})}
}

func newPodsCutFromVIP(t Target) Fault {
	return &filter{t: t, rule: forService(policyLocal, beforeDNAT, func(s journal.Service) string {
		return fmt.Sprintf("iifname != %q ip daddr %s drop", segmentInterface, s.VIP)
	})}
}

func newVIPThrottled(t Target) Fault {
	return &filter{t: t, rule: forService(remote, forwarded, func(s journal.Service) string {
		return fmt.Sprintf("ct original ip daddr %s limit rate over 20 mbytes/second burst 256 kbytes drop", s.VIP)
	})}
}

// memberlistPort is where MetalLB's speakers gossip: the chart's speaker.memberlist.mlBindPort.
const memberlistPort = 7946

func newMemberlistBlocked(t Target) Fault {
	return &filter{t: t, rule: func(context.Context, Target) (string, string, error) {
		return beforeDNAT, fmt.Sprintf("iifname %q meta l4proto { tcp, udp } th dport %d drop", segmentInterface, memberlistPort), nil
	}}
}

func (f *filter) Apply(ctx context.Context) (string, error) {
	hook, rule, err := f.rule(ctx, f.t)
	if err != nil {
		return "", err
	}
	table := fmt.Sprintf("table ip %s { chain drops { type filter hook %s; policy accept; %s; }; }", filterTable, hook, rule)
	for _, n := range f.t.Nodes {
		if _, err := cluster.Output(ctx, n, "nft", table); err != nil {
			return "", fmt.Errorf("filter on %s: %w", n.Name(), err)
		}
	}
	return fmt.Sprintf("on every node, %s: %s", hook, rule), nil
}

// on lists the nodes that have the table.
func (f *filter) on(ctx context.Context) ([]cluster.Node, error) {
	return f.t.with(ctx, func(ctx context.Context, n cluster.Node) (bool, error) {
		tables, err := cluster.Output(ctx, n, "nft", "list", "tables")
		if err != nil {
			return false, fmt.Errorf("list tables of %s: %w", n.Name(), err)
		}
		return slices.Contains(strings.Split(strings.TrimSpace(tables), "\n"), "table ip "+filterTable), nil
	})
}

func (f *filter) Verify(ctx context.Context, applied bool) (string, error) {
	on, err := f.on(ctx)
	if err != nil {
		return "", err
	}
	return f.t.everywhere(on, applied, "the table "+filterTable)
}

func (f *filter) Undo(ctx context.Context) (string, error) {
	on, err := f.on(ctx)
	if err != nil {
		return "", err
	}
	for _, n := range on {
		if _, err := cluster.Output(ctx, n, "nft", "delete", "table", "ip", filterTable); err != nil {
			return "", fmt.Errorf("take the filter from %s: %w", n.Name(), err)
		}
	}
	return fmt.Sprintf("took the filter from %d nodes", len(on)), nil
}
