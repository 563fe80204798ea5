// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/pace"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// sysctls are what the proof checks read on every node.
func sysctls(sc *scenario.Scenario) []string {
	keys := []string{
		"net.ipv4.ip_forward",
		"net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.all.arp_announce",
		"net.ipv4.conf.eth0.arp_ignore", "net.ipv4.conf.eth0.arp_announce",
	}
	if sc.Spec.Cluster.DualStack() {
		keys = append(keys, "net.ipv6.conf.all.forwarding")
	}
	return keys
}

// ruleTables are the commands that print what each proxy mode programs. One that fails
// must say so: an empty answer reads as "nothing there".
func ruleTables() map[string][]string {
	return map[string][]string{
		"iptables": {"iptables-save", "-t", "nat"},
		// Without the table there is nothing to list, and that is not an error.
		"nftables": {"sh", "-c", `tables=$(nft list tables) || exit 1; case "
$tables
" in *"
table ip kube-proxy
"*) exec nft list table ip kube-proxy ;; esac`},
		// Nor is a kernel, or a namespace, without IPVS.
		"ipvs": {"sh", "-c", `if [ -e /proc/net/ip_vs ]; then exec ipvsadm -Ln; fi`},
	}
}

// observeNodes asks every node which data plane it runs.
func observeNodes(ctx context.Context, e *Env, o *journal.Observation) error {
	nodes, err := e.Cluster.Nodes(ctx)
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	pods, err := e.proxyPods(ctx)
	if err != nil {
		return err
	}
	proofs := make([]journal.NodeProof, len(nodes))
	g, gctx := errgroup.WithContext(ctx)
	for i, n := range nodes {
		g.Go(func() error {
			proofs[i] = proof(gctx, n, e.Scenario)
			proofs[i].Pods = pods[n.Name()]
			return gctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, p := range proofs {
		if err := o.Write(journal.KindNodeProof, p); err != nil {
			return err
		}
	}
	return nil
}

// proxyPods lists the names of the proxy pods by node.
func (e *Env) proxyPods(ctx context.Context) (map[string][]string, error) {
	list, err := e.Kube.CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{LabelSelector: "k8s-app in (kube-proxy,cilium)"})
	if err != nil {
		return nil, fmt.Errorf("list proxy pods: %w", err)
	}
	out := map[string][]string{}
	for _, p := range list.Items {
		out[p.Spec.NodeName] = append(out[p.Spec.NodeName], p.Name)
	}
	return out, nil
}

// proof asks one node. What could not be read is an entry of Errors, not a failure
// of the others.
func proof(ctx context.Context, n cluster.Node, sc *scenario.Scenario) journal.NodeProof {
	ctx, cancel := context.WithTimeout(ctx, pace.Scale(ctx, 30*time.Second))
	defer cancel()
	p := journal.NodeProof{
		Node: n.Name(), Sysctls: map[string]string{}, Rules: map[string]string{}, Errors: map[string]string{},
	}
	keep := func(what string, err error) {
		if err != nil {
			p.Errors[what] = err.Error()
		}
	}
	var err error
	p.ProxyMode, err = cluster.Output(ctx, n, "curl", "-sS", "--fail", "--max-time", "5", "http://127.0.0.1:10249/proxyMode")
	keep("proxyMode", err)
	if sc.Spec.DataPlane.Proxy == scenario.ProxyIPVS {
		p.ProxyConfig, err = cluster.Output(ctx, n, "curl", "-sS", "--fail", "--max-time", "5", "http://127.0.0.1:10249/configz")
		keep("proxyConfig", err)
	}
	keep("sysctls", readSysctls(ctx, n, sysctls(sc), p.Sysctls))
	for table, argv := range ruleTables() {
		out, err := cluster.Output(ctx, n, argv[0], argv[1:]...)
		p.Rules[table] = serviceRules(out)
		keep("rules."+table, err)
	}
	if sc.Spec.Cluster.CNI == scenario.CNICilium {
		p.Cilium, err = ciliumProof(ctx, n)
		keep("cilium", err)
	}
	links, err := n.Interfaces(ctx)
	keep("links", err)
	for _, l := range links {
		p.Links = append(p.Links, l.Name)
	}
	return p
}

// ciliumProof asks a node's agent, inside the agent's container: there is its socket.
// Its /proc is of its own PID namespace, and cilium-dbg finds the BPF maps through it.
func ciliumProof(ctx context.Context, n cluster.Node) (*journal.CiliumProof, error) {
	const inAgent = `exec nsenter --target "$(pgrep -o -x cilium-agent)" --mount --pid -- `
	status, err := cluster.Output(ctx, n, "sh", "-c", inAgent+`cilium-dbg status -o json`)
	if err != nil {
		return nil, err
	}
	var whole struct {
		Replacement json.RawMessage `json:"kube-proxy-replacement"`
	}
	if err := json.Unmarshal([]byte(status), &whole); err != nil {
		return nil, fmt.Errorf("read cilium-dbg status: %w", err)
	}
	list, err := cluster.Output(ctx, n, "sh", "-c", inAgent+`cilium-dbg bpf lb list -o json`)
	if err != nil {
		return nil, err
	}
	var table map[string][]string
	if err := json.Unmarshal([]byte(list), &table); err != nil {
		return nil, fmt.Errorf("read cilium-dbg bpf lb list: %w", err)
	}
	p := &journal.CiliumProof{Replacement: whole.Replacement, Frontends: map[string][]string{}}
	for address, entries := range table {
		for _, e := range entries {
			if strings.Contains(e, "LoadBalancer") {
				p.Frontends[address] = append(p.Frontends[address], e)
			}
		}
	}
	return p, nil
}

// readSysctls reads all of them with one command: each value is one line.
func readSysctls(ctx context.Context, n cluster.Node, keys []string, into map[string]string) error {
	var files []string
	for _, key := range keys {
		files = append(files, "/proc/sys/"+strings.ReplaceAll(key, ".", "/"))
	}
	out, err := cluster.Output(ctx, n, "cat", files...)
	if err != nil {
		return err
	}
	values := strings.Fields(out)
	if len(values) != len(files) {
		return fmt.Errorf("read sysctls: %d values for %d files", len(values), len(files))
	}
	for i, key := range keys {
		into[key] = values[i]
	}
	return nil
}

// serviceRules keeps the lines that can name a service address: the whole tables
// hold thousands of lines on a large cluster.
func serviceRules(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		if strings.Contains(line, "KUBE-SERVICES") || strings.Contains(line, "KUBE-EXT") || strings.Contains(line, "KUBE-SVL") ||
			strings.Contains(line, " . tcp . ") || strings.Contains(line, " . udp . ") || strings.HasPrefix(line, "TCP ") || strings.HasPrefix(line, "UDP ") {
			b.WriteString(line)
		}
	}
	return b.String()
}
