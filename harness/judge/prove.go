// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// namesAddress says whether a rule text holds addr as a whole address: 10.0.0.1 is
// not in "10.0.0.10".
func namesAddress(rules, addr string) bool {
	for rest := rules; ; {
		i := strings.Index(rest, addr)
		if i < 0 {
			return false
		}
		before, after := byte(' '), byte(' ')
		if i > 0 {
			before = rest[i-1]
		}
		if end := i + len(addr); end < len(rest) {
			after = rest[end]
		}
		if !partOfAddress(before) && !partOfAddress(after) {
			return true
		}
		rest = rest[i+len(addr):]
	}
}

func partOfAddress(b byte) bool { return b == '.' || (b >= '0' && b <= '9') }

// nodeProofs returns one proof for each node of the topology, or an error.
func nodeProofs(f journal.Facts) ([]journal.NodeProof, error) {
	topo, err := f.Topology()
	if err != nil {
		return nil, err
	}
	span, err := f.Observation(journal.ObsNodes)
	if err != nil {
		return nil, err
	}
	proofs, err := journal.Bodies[journal.NodeProof](span, journal.KindNodeProof)
	if err != nil {
		return nil, err
	}
	if len(topo.Nodes) == 0 {
		return nil, fmt.Errorf("the topology names no node")
	}
	for _, n := range topo.Nodes {
		if count(proofs, func(p journal.NodeProof) bool { return p.Node == n.Name }) != 1 {
			return nil, fmt.Errorf("node %s: want one proof record", n.Name)
		}
	}
	return proofs, nil
}

func count[T any](all []T, is func(T) bool) int {
	n := 0
	for _, v := range all {
		if is(v) {
			n++
		}
	}
	return n
}

// nodesFigure says of how many nodes a proof was read.
func nodesFigure(n int) Figure {
	return Figure{Name: "nodes", Value: float64(n), Unit: "nodes", N: int64(n), Method: "whose settings or tables were read, once each"}
}

func forwardingEnabled() Check {
	return Check{
		ID: "forwarding-enabled", Family: "prove",
		Title: "Every node forwards",
		Why: "A node that is the announcer and has net.ipv4.ip_forward=0 drops VIP traffic for backends elsewhere " +
			"without a trace; a kind node without pods was measured to start that way. IPv6 has a switch of its own, net.ipv6.conf.all.forwarding.",
		Method: "Reads the sysctl on every node, once, in the phase that is judged, not only after set-up; that of IPv6 where spec.cluster.ipFamily is dual. It " +
			"misses a node that is set and drops all the same, as a firewall does, and one that is set back between the observations: " +
			"backend-off-announcer and reachable-ipv6 see both.",
		Needs: []string{journal.ObsNodes},
		Codes: []string{"ok", "ip_forward=0", "ipv6_forwarding=0"},
		Judge: judgeForwarding,
	}
}

func judgeForwarding(f journal.Facts, sc scenario.Scenario) Verdict {
	proofs, err := nodeProofs(f)
	if err != nil {
		return broken(err)
	}
	keys := []struct{ key, code string }{{"net.ipv4.ip_forward", "ip_forward=0"}}
	if dualStack(sc) {
		keys = append(keys, struct{ key, code string }{"net.ipv6.conf.all.forwarding", "ipv6_forwarding=0"})
	}
	var on []string
	for _, k := range keys {
		var off []string
		for _, p := range proofs {
			switch strings.TrimSpace(p.Sysctls[k.key]) {
			case "1":
			case "0":
				off = append(off, p.Node)
			default:
				return broken(fmt.Errorf("node %s: %s reads %q (%s)", p.Node, k.key, p.Sysctls[k.key], p.Errors["sysctls"]))
			}
		}
		if len(off) > 0 {
			return fail(k.code, "%s is 0 on %s: set it to 1", k.key, strings.Join(off, ", "))
		}
		on = append(on, k.key+" is 1")
	}
	return pass("%s on all %d nodes", strings.Join(on, " and "), len(proofs)).with(nodesFigure(len(proofs)))
}

func l2AdvertisementPresent() Check {
	return Check{
		ID: "l2-advertisement-present", Family: "prove",
		Title: "An L2Advertisement covers every VIP's pool",
		Why: "Without one MetalLB assigns the address and no speaker answers for it, and no event says so " +
			"(Kubespray renders none unless metallb_config.layer2 is set).",
		Method: "The pool whose ranges hold the VIP must be selected by at least one L2Advertisement, by name, by label or because " +
			"the advertisement names none. Says nothing of node selectors: responder-is-announcer does.",
		Needs: []string{journal.ObsAnnouncement},
		Codes: []string{"ok", "advertisements=0", "vip-unassigned", "no-pool"},
		Judge: judgeAdvertisement,
	}
}

func judgeAdvertisement(f journal.Facts, _ scenario.Scenario) Verdict {
	objs, err := objects(f, journal.ObsAnnouncement)
	if err != nil {
		return broken(err)
	}
	if len(objs.Services) == 0 {
		return broken(fmt.Errorf("no Service was recorded"))
	}
	for _, s := range objs.Services {
		if s.VIP == "" {
			return fail("vip-unassigned", "Service %s has no load-balancer address", s.Name)
		}
		pool, ok, err := poolOf(objs.Pools, s.VIP)
		if err != nil {
			return broken(err)
		}
		if !ok {
			return fail("no-pool", "%s (%s) lies in no IPAddressPool", s.VIP, s.Name)
		}
		covering := 0
		for _, a := range objs.L2Advertisements {
			covers, err := advertises(a, pool)
			if err != nil {
				return broken(err)
			}
			if covers {
				covering++
			}
		}
		if covering == 0 {
			return fail("advertisements=0",
				"no L2Advertisement covers pool %s, so nobody will answer for %s (%s): create one (Kubespray: metallb_config.layer2: [%s])",
				pool.Name, s.VIP, s.Name, pool.Name)
		}
	}
	return pass("the pools of all %d VIPs are covered by %d L2Advertisements", len(objs.Services), len(objs.L2Advertisements)).with(
		Figure{Name: "L2Advertisements", Value: float64(len(objs.L2Advertisements)), Unit: "objects", N: int64(len(objs.Services)), Method: "of the API server, that cover the pools of so many VIPs"})
}
