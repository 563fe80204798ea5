// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func dataplaneActive() Check {
	return Check{
		ID: "dataplane-active", Family: "prove",
		Title: "Every node runs the data plane the scenario names",
		Why: "A matrix row is worth nothing when another data plane did the work: kube-proxy falls back, an upgrade brings kube-proxy back " +
			"(kubespray #11227), and a mis-cased Helm key leaves Cilium in SNAT (kubespray 2.28.0 to 2.29.0, #12701).",
		Method: "On every node. kube-proxy: GET 127.0.0.1:10249/proxyMode must say the scenario's mode, and the tables of that mode must hold every " +
			"VIP. Cilium: cilium-dbg status must say whether it replaces kube-proxy, and its NodePort mode must be the scenario's forwarding; its BPF " +
			"table must hold every VIP, flagged dsr where TCP is to be returned directly. One reading per node. Misses rules that are present and not hit.",
		Needs: []string{journal.ObsNodes, journal.ObsAnnouncement},
		Codes: []string{"ok", "proxy-mode=MODE", "replacement=True", "replacement=False", "forwarding=MODE", "vip-unassigned", "vip-not-programmed", "vip-not-dsr"},
		Judge: judgeDataplane,
	}
}

func judgeDataplane(f journal.Facts, sc scenario.Scenario) Verdict {
	proofs, err := nodeProofs(f)
	if err != nil {
		return broken(err)
	}
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
	}
	// Without endpoints there is nothing to program: kube-proxy rejects such traffic elsewhere.
	served := slices.DeleteFunc(slices.Clone(objs.Services), func(s journal.Service) bool { return s.Role == journal.RoleIdle })
	for _, p := range proofs {
		if sc.Spec.Cluster.CNI == scenario.CNICilium {
			if v := proveCilium(p, sc.Spec.DataPlane, served); v.Outcome != Passed {
				return v
			}
		}
		if sc.Spec.DataPlane.Proxy != scenario.ProxyCilium {
			if v := proveKubeProxy(p, string(sc.Spec.DataPlane.Proxy), served); v.Outcome != Passed {
				return v
			}
		}
	}
	what := fmt.Sprintf("run kube-proxy in %s mode", sc.Spec.DataPlane.Proxy)
	if sc.Spec.DataPlane.Proxy == scenario.ProxyCilium {
		what = fmt.Sprintf("run Cilium in place of kube-proxy, forwarding %s,", sc.Spec.DataPlane.Forwarding)
	}
	return pass("%d nodes %s and have every one of %d VIPs in their tables", len(proofs), what, len(served)).
		with(Figure{Name: "nodes", Value: float64(len(proofs)), Unit: "nodes", N: int64(len(proofs)), Method: "what each node says, and its tables"})
}

func proveKubeProxy(p journal.NodeProof, mode string, services []journal.Service) Verdict {
	for _, what := range []string{"proxyMode", "rules." + mode} {
		if e := p.Errors[what]; e != "" {
			return broken(fmt.Errorf("node %s: read %s: %s", p.Node, what, e))
		}
	}
	if got := strings.TrimSpace(p.ProxyMode); got != mode {
		return fail("proxy-mode="+got, "node %s runs kube-proxy in mode %q, the scenario says %q", p.Node, got, mode)
	}
	for _, s := range services {
		if !namesAddress(p.Rules[mode], s.VIP) {
			return fail("vip-not-programmed", "node %s: no %s rule names %s (%s)", p.Node, mode, s.VIP, s.Name)
		}
	}
	return pass("")
}

// ciliumReplacement is the part of cilium-dbg's status that is read here
// (api/v1/models/kube_proxy_replacement.go).
type ciliumReplacement struct {
	Mode     string `json:"mode"` // True or False
	Features struct {
		NodePort struct {
			Enabled bool   `json:"enabled"`
			Mode    string `json:"mode"` // SNAT, DSR or Hybrid
		} `json:"nodePort"`
	} `json:"features"`
}

func proveCilium(p journal.NodeProof, want scenario.DataPlane, services []journal.Service) Verdict {
	if e := p.Errors["cilium"]; e != "" || p.Cilium == nil {
		return broken(fmt.Errorf("node %s: ask Cilium's agent: %s", p.Node, e))
	}
	var got ciliumReplacement
	if err := json.Unmarshal(p.Cilium.Replacement, &got); err != nil {
		return broken(fmt.Errorf("node %s: read cilium-dbg status: %w", p.Node, err))
	}
	replaces := "False"
	if want.Proxy == scenario.ProxyCilium {
		replaces = "True"
	}
	if got.Mode != replaces {
		return fail("replacement="+got.Mode, "node %s: cilium-dbg status says KubeProxyReplacement %q, the scenario wants %s", p.Node, got.Mode, replaces)
	}
	if want.Proxy != scenario.ProxyCilium {
		return pass("")
	}
	if mode := strings.ToLower(got.Features.NodePort.Mode); !got.Features.NodePort.Enabled || mode != string(want.Forwarding) {
		return fail("forwarding="+mode, "node %s: cilium-dbg status says NodePort mode %s, the scenario says %s", p.Node, got.Features.NodePort.Mode, want.Forwarding)
	}
	for _, s := range services {
		entry, ok := frontend(p.Cilium.Frontends, s.VIP, s.Port)
		if !ok {
			return fail("vip-not-programmed", "node %s: Cilium's BPF table has no load-balancer entry for %s:%d (%s)", p.Node, s.VIP, s.Port, s.Name)
		}
		if want.Forwarding != scenario.ForwardingSNAT && !strings.Contains(entry, "dsr") {
			return fail("vip-not-dsr", "node %s: Cilium's BPF entry for %s:%d (%s) is not flagged dsr: %s", p.Node, s.VIP, s.Port, s.Name, entry)
		}
	}
	return pass("")
}

// frontend finds the entry of a TCP load-balancer address: its key begins with
// ADDRESS:PORT/TCP, whatever else a version of Cilium writes after it.
func frontend(table map[string][]string, addr string, port int) (string, bool) {
	want := fmt.Sprintf("%s:%d/TCP", addr, port)
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if rest, ok := strings.CutPrefix(key, want); ok && (rest == "" || !partOfAddress(rest[0])) && len(table[key]) > 0 {
			return table[key][0], true
		}
	}
	return "", false
}

func leftoverDataplane() Check {
	return Check{
		ID: "leftover-dataplane", Family: "prove",
		Title: "Nothing of another data plane is left on any node",
		Why: "Switching modes cleans up only in part: ipvs to iptables leaves kube-ipvs0 with every VIP, which answers ARP on each node (kubernetes " +
			"#109286, #102314), and turning on Cilium's kube-proxy replacement deletes neither kube-proxy nor its rules (kubespray #10537).",
		Method: "On every node: the link kube-ipvs0 and IPVS servers outside ipvs mode, kube-proxy's Service chains in iptables outside iptables and " +
			"ipvs mode, its nftables table outside nftables mode, and kube-proxy pods under Cilium's replacement. A node whose tables, links or " +
			"pods could not be listed is broken, not clean. Misses what has another name.",
		Needs: []string{journal.ObsNodes},
		Codes: []string{"ok", "leftover=kube-ipvs0", "leftover=ipvs", "leftover=iptables", "leftover=nftables", "leftover=kube-proxy"},
		Judge: judgeLeftover,
	}
}

func judgeLeftover(f journal.Facts, sc scenario.Scenario) Verdict {
	proofs, err := nodeProofs(f)
	if err != nil {
		return broken(err)
	}
	proxy := sc.Spec.DataPlane.Proxy
	for _, p := range proofs {
		if err := listed(p, proxy); err != nil {
			return broken(err)
		}
		left := func(what, format string, args ...any) Verdict {
			return fail("leftover="+what, "node %s, data plane %s: %s", p.Node, proxy, fmt.Sprintf(format, args...))
		}
		if proxy == scenario.ProxyCilium {
			if i := slices.IndexFunc(p.Pods, func(pod string) bool { return strings.HasPrefix(pod, "kube-proxy") }); i >= 0 {
				return left("kube-proxy", "pod %s still runs", p.Pods[i])
			}
		}
		if proxy != scenario.ProxyIPVS {
			if slices.Contains(p.Links, "kube-ipvs0") {
				return left("kube-ipvs0", "the link kube-ipvs0 is still there: its addresses answer ARP")
			}
			if strings.TrimSpace(p.Rules["ipvs"]) != "" {
				return left("ipvs", "IPVS still has virtual servers")
			}
		}
		if proxy != scenario.ProxyIPTables && proxy != scenario.ProxyIPVS && strings.TrimSpace(p.Rules["iptables"]) != "" {
			return left("iptables", "iptables still has kube-proxy's Service chains")
		}
		if proxy != scenario.ProxyNFTables && strings.TrimSpace(p.Rules["nftables"]) != "" {
			return left("nftables", "nftables still has kube-proxy's table")
		}
	}
	return pass("%d nodes hold nothing of another data plane", len(proofs)).with(nodesFigure(len(proofs)))
}

// listed says whether a node's proof holds everything that nothing may be left in: what
// was not read is not empty.
func listed(p journal.NodeProof, proxy scenario.Proxy) error {
	for _, what := range []string{"links", "rules.iptables", "rules.nftables", "rules.ipvs"} {
		if e := p.Errors[what]; e != "" {
			return fmt.Errorf("node %s: read %s: %s", p.Node, what, e)
		}
		if table, ok := strings.CutPrefix(what, "rules."); ok {
			if _, read := p.Rules[table]; !read {
				return fmt.Errorf("node %s: its %s rules were not read", p.Node, table)
			}
		}
	}
	if !slices.Contains(p.Links, "lo") {
		return fmt.Errorf("node %s: its links were not read: every node has lo", p.Node)
	}
	// The positive control of the list that kube-proxy must not be in.
	if proxy == scenario.ProxyCilium && !slices.ContainsFunc(p.Pods, func(pod string) bool { return strings.HasPrefix(pod, "cilium") }) {
		return fmt.Errorf("node %s: no Cilium pod is listed on it, so its pods were not read", p.Node)
	}
	return nil
}

func strictARPApplied() Check {
	return Check{
		ID: "strict-arp-applied", Family: "prove",
		Title: "Strict ARP is in force on every node",
		Why: "kube-proxy in ipvs mode binds every VIP to kube-ipvs0 on every node; only arp_ignore keeps them all from answering ARP. kube-proxy sets it " +
			"when it starts and never again, so a later `sysctl --system` undoes it while the configuration still says strictARP: true.",
		Method: "On every node: the larger of net.ipv4.conf.all.arp_ignore and that of the segment's interface must be 1 or more, and the same of " +
			"arp_announce 2 (the kernel uses the larger of both); and kube-proxy's own /configz must say strictARP, or its next start undoes what " +
			"somebody else has set. The sysctls come first: the message says what the configuration claims beside them. " +
			"Read once on each node in the phase that is judged: it misses what is set back between the observations, which single-responder hears.",
		Needs:   []string{journal.ObsNodes},
		Codes:   []string{"ok", "arp_ignore=0", "arp_announce=N", "strictARP=false"},
		Applies: func(sc scenario.Scenario) bool { return sc.Spec.DataPlane.StrictARP },
		Judge:   func(f journal.Facts, _ scenario.Scenario) Verdict { return judgeStrictARP(f) },
	}
}

func judgeStrictARP(f journal.Facts) Verdict {
	proofs, err := nodeProofs(f)
	if err != nil {
		return broken(err)
	}
	told := map[bool][]string{} // what kube-proxy's configuration says -> nodes
	for _, p := range proofs {
		strict, err := configuredStrictARP(p)
		if err != nil {
			return broken(err)
		}
		told[strict] = append(told[strict], p.Node)
	}
	claim := "kube-proxy's configuration says strictARP: true there, so it has set %d when it started, and something has set it back (restart kube-proxy)"
	if len(told[false]) > 0 {
		claim = "kube-proxy's configuration does not say strictARP: true on " + strings.Join(told[false], ", ") + ", so nobody sets %d"
	}
	for _, want := range []struct {
		key string
		min int
	}{{"arp_ignore", 1}, {"arp_announce", 2}} {
		var low []string
		lowest := want.min
		for _, p := range proofs {
			got, err := effective(p, want.key)
			if err != nil {
				return broken(err)
			}
			if got < want.min {
				low, lowest = append(low, p.Node), min(lowest, got)
			}
		}
		if len(low) > 0 {
			return fail(fmt.Sprintf("%s=%d", want.key, lowest), "%s is %d on %s: "+claim, want.key, lowest, strings.Join(low, ", "), want.min)
		}
	}
	if len(told[false]) > 0 {
		return fail("strictARP=false", "arp_ignore and arp_announce are set on every node, but kube-proxy's configuration does not say strictARP: true on %s",
			strings.Join(told[false], ", "))
	}
	return pass("arp_ignore is 1 or more and arp_announce 2 on all %d nodes, and kube-proxy's configuration says strictARP: true", len(proofs)).with(nodesFigure(len(proofs)))
}

// configuredStrictARP is what a node's kube-proxy was told.
func configuredStrictARP(p journal.NodeProof) (bool, error) {
	if e := p.Errors["proxyConfig"]; e != "" {
		return false, fmt.Errorf("node %s: read kube-proxy's configuration: %s", p.Node, e)
	}
	// Its one key is the API group; field names match whatever their case.
	var groups map[string]struct{ IPVS struct{ StrictARP *bool } }
	if err := json.Unmarshal([]byte(p.ProxyConfig), &groups); err != nil {
		return false, fmt.Errorf("node %s: read kube-proxy's configuration: %w", p.Node, err)
	}
	for _, c := range groups {
		if c.IPVS.StrictARP != nil {
			return *c.IPVS.StrictARP, nil
		}
	}
	return false, fmt.Errorf("node %s: kube-proxy's configuration has no ipvs.strictARP", p.Node)
}

// effective is what the kernel uses of a setting on the segment's interface: the
// larger of conf.all and conf.eth0 (Documentation/networking/ip-sysctl).
func effective(p journal.NodeProof, key string) (int, error) {
	best := -1
	for _, where := range []string{"all", "eth0"} {
		name := "net.ipv4.conf." + where + "." + key
		var n int
		if _, err := fmt.Sscan(p.Sysctls[name], &n); err != nil {
			return 0, fmt.Errorf("node %s: %s reads %q (%s)", p.Node, name, p.Sysctls[name], p.Errors["sysctls"])
		}
		best = max(best, n)
	}
	return best, nil
}
