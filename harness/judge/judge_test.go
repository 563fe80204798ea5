// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat/distuv"
	"pgregory.net/rapid"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// verdicts judges a world and returns its cells by "phase/check".
func verdicts(t *testing.T, w *world) map[string]judge.Cell {
	t.Helper()
	j, err := journal.ReadFile(w.write(t, t.TempDir()))
	require.NoError(t, err)
	cells, err := judge.Journal(j)
	require.NoError(t, err)
	out := map[string]judge.Cell{}
	for _, c := range cells {
		out[c.Phase+"/"+c.Check] = c
	}
	return out
}

func TestHealthyWorldIsGreen(t *testing.T) {
	got := verdicts(t, healthy())
	require.Len(t, got, len(judge.For(healthy().spec)))
	for id, c := range got {
		require.Equal(t, judge.ResultPassed, c.Result, "%s: %s", id, c.Verdict.Message)
		require.Empty(t, c.Verdict.Findings, id)
		require.NotEmpty(t, c.Verdict.Message, id)
	}
}

// TestWorlds holds every check to worlds it must see through. A check that is not
// named must stay green, so that a check which is always red cannot pass here.
func TestWorlds(t *testing.T) {
	const silent = "responders=0"
	sweepLost := map[string]string{}
	for _, id := range []string{
		"single-responder", "responder-is-announcer", "announcer-status-agrees", "unassigned-address-silent", "no-endpoint-not-announced",
		"reachable-local-policy", "backend-on-announcer", "backend-off-announcer", "direct-server-return", "udp-echo",
	} {
		sweepLost[id] = "no-data"
	}
	unreachable := map[string]string{
		"responder-is-announcer": "no-single-responder", "announcer-status-agrees": "no-single-responder",
	}
	with := func(base map[string]string, more ...string) map[string]string {
		out := map[string]string{}
		for k, v := range base {
			out[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	all := func(code string, checks ...string) map[string]string {
		out := map[string]string{}
		for _, c := range checks {
			out[c] = code
		}
		return out
	}
	for name, tc := range map[string]struct {
		change func(*world)
		want   map[string]string // check -> code; every other check passes
	}{
		"another proxy mode": {
			func(w *world) { w.proofs[1].ProxyMode = "nftables" },
			map[string]string{"dataplane-active": "proxy-mode=nftables"},
		},
		"a VIP without a rule": {
			func(w *world) {
				w.proofs[2].Rules["iptables"] = "-A KUBE-SERVICES -d 192.0.2.4/32\n-d 192.0.2.400/32\n-d 1192.0.2.40/32\n"
			},
			map[string]string{"dataplane-active": "vip-not-programmed"},
		},
		"kube-ipvs0 left over": {
			func(w *world) { w.proofs[0].Links = append(w.proofs[0].Links, "kube-ipvs0") },
			map[string]string{"leftover-dataplane": "leftover=kube-ipvs0"},
		},
		"a node that does not answer for its proxy": {
			func(w *world) { w.proofs[0].Errors = map[string]string{"proxyMode": "connection refused"} },
			map[string]string{"dataplane-active": "no-data"},
		},
		"a node without a proof": {
			func(w *world) { w.proofs = w.proofs[1:] },
			map[string]string{"dataplane-active": "no-data", "forwarding-enabled": "no-data", "leftover-dataplane": "no-data"},
		},
		"ip_forward off on one node": {
			func(w *world) { w.proofs[2].Sysctls["net.ipv4.ip_forward"] = "0\n" },
			map[string]string{"forwarding-enabled": "ip_forward=0"},
		},
		"ip_forward unreadable": {
			func(w *world) { w.proofs[2].Sysctls = nil },
			map[string]string{"forwarding-enabled": "no-data"},
		},
		"no L2Advertisement object": {
			func(w *world) { w.objects.L2Advertisements = nil },
			map[string]string{"l2-advertisement-present": "advertisements=0"},
		},
		"an L2Advertisement for another pool": {
			func(w *world) { w.objects.L2Advertisements[0].Pools = []string{"other"} },
			map[string]string{"l2-advertisement-present": "advertisements=0"},
		},
		"an L2Advertisement by label that does not match": {func(w *world) {
			w.objects.L2Advertisements[0].Pools = nil
			w.objects.L2Advertisements[0].PoolSelectors = json.RawMessage(`[{"matchLabels":{"a":"b"}}]`)
		}, map[string]string{"l2-advertisement-present": "advertisements=0"}},
		"a VIP outside every pool": {
			func(w *world) { w.objects.Pools[0].Addresses = []string{"198.51.100.0/24"} },
			map[string]string{"l2-advertisement-present": "no-pool"},
		},
		"nobody answers": {
			func(w *world) { w.arp[vipCluster], w.arp[vipLocal] = nil, nil },
			with(unreachable, "single-responder", silent, "reachable-local-policy", "no-single-responder",
				"udp-echo", "no-single-responder", "no-endpoint-not-announced", "no-data"),
		},
		"nobody answers for one VIP, two for the other": {
			func(w *world) { w.arp[vipCluster][mac(0)], w.arp[vipLocal] = 1, nil },
			with(unreachable, "single-responder", "responders=0+2", "reachable-local-policy", "no-single-responder",
				"udp-echo", "no-single-responder", "no-endpoint-not-announced", "no-data"),
		},
		"two answer": {
			func(w *world) { w.arp[vipCluster][mac(0)] = 1 },
			with(unreachable, "single-responder", "responders=2"),
		},
		"a second one answers 1 in 10": {
			func(w *world) { w.arp[vipCluster][mac(0)] = 10 },
			with(unreachable, "single-responder", "responders=2"),
		},
		"all three answer": {
			func(w *world) { w.arp[vipCluster] = map[string]int{mac(0): 1, mac(1): 1, mac(2): 1} },
			with(unreachable, "single-responder", "responders=3"),
		},
		"half of the broadcasts go unanswered": {
			func(w *world) { w.arp[vipCluster] = map[string]int{mac(elected(vipCluster)): 2} },
			map[string]string{"single-responder": "unanswered"},
		},
		"answers come late and in bursts":                           {func(w *world) { w.delayNS = 4500 }, nil},
		"frames were dropped":                                       {func(w *world) { w.drops = 1 }, sweepLost},
		"the positive control failed":                               {func(w *world) { w.arp[nodeAddr(1)] = nil }, sweepLost},
		"a node answers every second broadcast for its own address": {func(w *world) { w.arp[nodeAddr(1)] = map[string]int{mac(1): 2} }, sweepLost},
		"a stranger answers": {
			func(w *world) { w.arp[vipCluster] = map[string]int{mac(77): 1} },
			map[string]string{"responder-is-announcer": "foreign-responder", "announcer-status-agrees": "no-single-responder"},
		},
		"the excluded control plane answers": {
			func(w *world) { w.arp[vipCluster] = map[string]int{mac(0): 1} },
			map[string]string{"responder-is-announcer": "excluded-node", "announcer-status-agrees": "metrics"},
		},
		"the node that lost the election answers": {
			func(w *world) { w.arp[vipCluster] = map[string]int{mac(3 - elected(vipCluster)): 1} },
			map[string]string{"responder-is-announcer": "not-elected", "announcer-status-agrees": "metrics"},
		},
		"policy Local without an endpoint on the announcer": {func(w *world) {
			other := w.topology.Nodes[3-elected(vipLocal)].Name
			for i := range w.objects.Backends {
				if w.objects.Backends[i].Service == "echo-local" {
					w.objects.Backends[i].Node = other
				}
			}
		}, map[string]string{
			"responder-is-announcer": "no-local-endpoint", "reachable-local-policy": "backend-off-announcer", "udp-echo": "backend-off-announcer",
		}},
		"the status names another node": {
			func(w *world) { w.objects.L2Statuses[0].Node = "worker9" },
			map[string]string{"announcer-status-agrees": "l2status"},
		},
		"no status": {
			func(w *world) { w.objects.L2Statuses = nil },
			map[string]string{"announcer-status-agrees": "l2status"},
		},
		"a MetalLB that has no statuses": {
			func(w *world) {
				w.objects.L2Statuses, w.objects.NoL2Statuses = nil, true
				w.spec.Spec.Components = []scenario.Component{{Name: "metallb", Version: "v0.13.9"}}
			},
			nil,
		},
		"a MetalLB that should have statuses": {
			func(w *world) {
				w.objects.L2Statuses, w.objects.NoL2Statuses = nil, true
				w.spec.Spec.Components = []scenario.Component{{Name: "metallb", Version: "v0.14.2"}}
			},
			map[string]string{"announcer-status-agrees": "l2status"},
		},
		"an old MetalLB whose statuses are served and missing": {
			func(w *world) {
				w.objects.L2Statuses = nil
				w.spec.Spec.Components = []scenario.Component{{Name: "metallb", Version: "v0.13.9"}}
			},
			map[string]string{"announcer-status-agrees": "l2status"},
		},
		"no speaker says that it announces": {
			func(w *world) { w.metrics[elected(vipCluster)].Text = w.metrics[0].Text },
			map[string]string{"announcer-status-agrees": "metrics"},
		},
		"two speakers say that they announce": {
			func(w *world) {
				w.metrics[0].Text += w.metrics[elected(vipCluster)].Text
			},
			map[string]string{"announcer-status-agrees": "metrics"},
		},
		"metrics unreadable": {
			func(w *world) { w.metrics[0].Error = "refused" },
			map[string]string{"announcer-status-agrees": "no-data"},
		},
		"one request in 401 fails": {
			func(w *world) { w.errors["echo-cluster"] = 1 },
			map[string]string{"reachable-cluster-policy": "errors"},
		},
		"the local VIP is dead": {
			func(w *world) { w.errors["echo-local"], w.backends["echo-local"] = 400, nil },
			map[string]string{"reachable-local-policy": "unreachable", "source-address": "unreachable"},
		},
		"a backend is never asked": {
			func(w *world) { delete(w.backends["echo-cluster"], "a") },
			map[string]string{"every-backend-reached": "missing=1"},
		},
		"a backend gets twice its share": {
			func(w *world) { w.backends["echo-cluster"]["a"] = map[string]int{nodeAddr(1): 200} },
			map[string]string{"every-backend-reached": "skew"},
		},
		"a backend that is none": {
			func(w *world) { w.backends["echo-cluster"]["zz"] = map[string]int{nodeAddr(1): 1} },
			map[string]string{"every-backend-reached": "unknown-backend"},
		},
		"policy Cluster shows the client": {
			func(w *world) { w.backends["echo-cluster"]["a"] = map[string]int{clientAddr: 100} },
			map[string]string{"source-address": "cluster-source"},
		},
		"policy Local hides the client": {func(w *world) {
			for pod := range w.backends["echo-local"] {
				w.backends["echo-local"][pod] = map[string]int{nodeAddr(1): 200}
			}
		}, map[string]string{"source-address": "local-source"}},
		"rules of nftables left over": {
			func(w *world) { w.proofs[0].Rules["nftables"] = "table ip kube-proxy" },
			map[string]string{"leftover-dataplane": "leftover=nftables"},
		},
		"IPVS servers left over": {
			func(w *world) { w.proofs[2].Rules["ipvs"] = "TCP  192.0.2.40:80 rr" },
			map[string]string{"leftover-dataplane": "leftover=ipvs"},
		},
		"links unreadable": {
			func(w *world) { w.proofs[2].Errors = map[string]string{"links": "no such container"} },
			map[string]string{"leftover-dataplane": "no-data"},
		},
		"a Service without a VIP": {
			func(w *world) { w.objects.Services[0].VIP, w.noPath = "", &journal.Unmeasured{Service: "echo-cluster"} },
			all("vip-unassigned", "dataplane-active", "l2-advertisement-present", "single-responder", "responder-is-announcer", "announcer-status-agrees",
				"unassigned-address-silent", "no-endpoint-not-announced", "reachable-cluster-policy", "reachable-local-policy", "backend-on-announcer",
				"backend-off-announcer", "every-backend-reached", "source-address", "direct-server-return", "session-affinity", "udp-echo",
				"connect-latency", "request-latency"),
		},
		"latency without an announcer": {
			func(w *world) {
				w.noPath = &journal.Unmeasured{Service: "echo-cluster", VIP: vipCluster, AnsweredBy: []string{mac(1), mac(2)}}
			},
			map[string]string{"connect-latency": "no-single-responder", "request-latency": "no-single-responder"},
		},
		"latency left out although a node announced": {
			func(w *world) {
				w.noPath = &journal.Unmeasured{Service: "echo-cluster", VIP: vipCluster, AnsweredBy: []string{mac(1)}}
			},
			map[string]string{"connect-latency": "no-data", "request-latency": "no-data"},
		},
		"no links listed": {
			func(w *world) { w.proofs[2].Links = nil },
			map[string]string{"leftover-dataplane": "no-data"},
		},
		"nftables never read": {
			func(w *world) { delete(w.proofs[2].Rules, "nftables") },
			map[string]string{"leftover-dataplane": "no-data"},
		},
		"IPVS unreadable": {
			func(w *world) { w.proofs[2].Errors = map[string]string{"rules.ipvs": "exec: ipvsadm: not found"} },
			map[string]string{"leftover-dataplane": "no-data"},
		},
		"a speaker whose metrics were not read": {
			func(w *world) { w.metrics[0].Text = "404 page not found\n" },
			map[string]string{"announcer-status-agrees": "no-data"},
		},
		"a node without a speaker's metrics": {
			func(w *world) { w.metrics = w.metrics[1:] },
			map[string]string{"announcer-status-agrees": "no-data"},
		},
		"requests to the remote VIP fail": {
			func(w *world) { w.errors["echo-remote"], w.backends["echo-remote"] = 400, nil },
			map[string]string{"backend-off-announcer": "unreachable", "source-address": "unreachable"},
		},
		"the remote VIP is answered on its announcer": {func(w *world) {
			node := w.topology.Nodes[elected(vipRemote)].Name
			w.objects.Backends = append(w.objects.Backends, journal.Backend{Service: "echo-remote", Pod: "z", Node: node})
			w.backends["echo-remote"]["z"] = map[string]int{nodeAddr(1): 1}
		}, map[string]string{"backend-off-announcer": "backend-on-announcer", "direct-server-return": "no-data"}},
		"the remote backend sees the client": {
			func(w *world) {
				for pod := range w.backends["echo-remote"] {
					w.backends["echo-remote"][pod] = map[string]int{clientAddr: 100}
				}
			},
			map[string]string{"source-address": "remote-source"},
		},
		"two answer for every VIP": {
			func(w *world) {
				for _, vip := range served() {
					w.arp[vip][mac(0)] = 1
				}
			},
			with(unreachable, "single-responder", "responders=2", "reachable-local-policy", "no-single-responder",
				"backend-off-announcer", "no-single-responder", "direct-server-return", "no-single-responder",
				"backend-on-announcer", "no-single-responder", "udp-echo", "no-single-responder"),
		},
		"replies come directly where SNAT is to be": {
			func(w *world) { w.replies["tcp"] = []string{mac(3 - elected(vipRemote))} },
			map[string]string{"direct-server-return": "reply-path=backend"},
		},
		"one reply in ten comes directly": {
			func(w *world) {
				w.replies["tcp"] = append(slices.Repeat(w.replies["tcp"], 9), mac(3-elected(vipRemote)))
			},
			map[string]string{"direct-server-return": "reply-path=mixed"},
		},
		"datagrams are answered by a stranger": {
			func(w *world) { w.replies["udp"] = []string{mac(77)} },
			map[string]string{"direct-server-return": "udp-reply-path=other"},
		},
		"one SYN in twenty is not answered": {
			func(w *world) { w.replies["tcp"] = append(slices.Repeat(w.replies["tcp"], 19), "") },
			map[string]string{"direct-server-return": "no-reply"},
		},
		"requests go to another MAC than the announcer's": {
			func(w *world) { w.requests = mac(3 - elected(vipRemote)) },
			map[string]string{"direct-server-return": "request-off-announcer"},
		},
		"a connection is missing in the capture": {
			func(w *world) { w.unseen = 1 },
			map[string]string{"direct-server-return": "no-data"},
		},
		"the VIP is slower at the median": {
			func(w *world) { w.latency[journal.StreamConnect+"/vip"] = hist{p50: 400e3, p90: 500e3, n: 1000} },
			map[string]string{"connect-latency": "p50-ratio"},
		},
		"the VIP has a worse p90": {
			func(w *world) { w.latency[journal.StreamRequest+"/vip"] = hist{p50: 200e3, p90: 2400e3, n: 1000} },
			map[string]string{"request-latency": "p90-ratio"},
		},
		// One request in ten waited for the machine: a few more of the VIP's than of the
		// NodePort's make its p90 a hundred times the other.
		"the p90 is where slow requests begin": {
			func(w *world) {
				w.latency[journal.StreamRequest+"/vip"] = hist{p50: 200e3, p90: 300e3, n: 1000, slow: 108}
				w.latency[journal.StreamRequest+"/nodeport"] = hist{p50: 200e3, p90: 300e3, n: 1000, slow: 92}
			},
			nil,
		},
		"one request in seven through the VIP waits": {
			func(w *world) {
				w.latency[journal.StreamRequest+"/vip"] = hist{p50: 200e3, p90: 300e3, n: 1000, slow: 143}
			},
			map[string]string{"request-latency": "p90-ratio"},
		},
		"one of a thousand requests to the VIP fails": {
			func(w *world) {
				w.latency[journal.StreamRequest+"/vip"] = hist{p50: 200e3, p90: 300e3, n: 999, errors: 1}
			},
			map[string]string{"request-latency": "errors"},
		},
		"one of a thousand requests to the NodePort fails": {
			func(w *world) {
				w.latency[journal.StreamRequest+"/nodeport"] = hist{p50: 190e3, p90: 290e3, n: 999, errors: 1}
			},
			map[string]string{"request-latency": "no-data"},
		},
		"nearly half of the VIP's requests wait, and one in eleven of the NodePort's": {
			func(w *world) {
				w.latency[journal.StreamRequest+"/vip"] = hist{p50: 200e3, p90: 300e3, n: 1000, slow: 460}
				w.latency[journal.StreamRequest+"/nodeport"] = hist{p50: 200e3, p90: 300e3, n: 1000, slow: 92}
			},
			map[string]string{"request-latency": "p90-ratio"},
		},
		"one in five of the VIP's, and one in ten of the NodePort's": {
			func(w *world) {
				w.latency[journal.StreamRequest+"/vip"] = hist{p50: 200e3, p90: 300e3, n: 1000, slow: 200}
				w.latency[journal.StreamRequest+"/nodeport"] = hist{p50: 200e3, p90: 300e3, n: 1000, slow: 100}
			},
			map[string]string{"request-latency": "p90-ratio"},
		},
		"a histogram cannot be read": {
			func(w *world) {
				w.latency[journal.StreamRequest+"/vip"] = hist{p50: 200e3, p90: 300e3, n: 1000, torn: true}
			},
			map[string]string{"request-latency": "no-data"},
		},
		"the client was too slow": {func(w *world) {
			w.latency[journal.StreamRequest+"/vip"] = hist{p50: 200e3, p90: 300e3, n: 1000, late: 501}
		}, map[string]string{"request-latency": "no-data"}},
		"too few samples": {
			func(w *world) { w.latency[journal.StreamConnect+"/vip"] = hist{p50: 200e3, p90: 300e3, n: 10} },
			map[string]string{"connect-latency": "no-data"},
		},
		"the VIP path fails": {
			func(w *world) { w.latency[journal.StreamConnect+"/vip"] = hist{errors: 1000} },
			map[string]string{"connect-latency": "unreachable"},
		},
		"the NodePort path fails": {
			func(w *world) { w.latency[journal.StreamConnect+"/nodeport"] = hist{errors: 1000} },
			map[string]string{"connect-latency": "no-data"},
		},
		"the NodePort path fails now and then": {
			func(w *world) {
				w.latency[journal.StreamConnect+"/nodeport"] = hist{p50: 190e3, p90: 290e3, n: 900, errors: 100}
			},
			map[string]string{"connect-latency": "no-data"},
		},
		"requests waited for one another": {
			func(w *world) { w.connections = 3 },
			map[string]string{"connect-latency": "no-data", "request-latency": "no-data"},
		},
		"a run was discarded without a word": {func(w *world) {
			w.discarded, w.untold = map[string]int64{journal.StreamConnect: 1001}, true
		}, map[string]string{"connect-latency": "no-data"}},
		"a run was discarded although its client kept the schedule": {func(w *world) {
			w.discarded = map[string]int64{journal.StreamConnect: 1000}
		}, map[string]string{"connect-latency": "no-data"}},
		"a run was made again because its client was late": {func(w *world) {
			w.discarded = map[string]int64{journal.StreamConnect: 1001}
		}, nil},
		"the latency observation broke": {
			func(w *world) { w.broken[journal.ObsLatency] = "the client is gone" },
			map[string]string{"connect-latency": "no-data", "request-latency": "no-data"},
		},
		"a spare address is answered once": {
			func(w *world) { w.arp[spareAddr] = map[string]int{mac(0): 50} },
			map[string]string{"unassigned-address-silent": "answered-in-pool"},
		},
		"an address outside the pool is answered": {
			func(w *world) { w.arp[nobodyAddr] = map[string]int{mac(77): 1} },
			map[string]string{"unassigned-address-silent": "answered-outside-pool"},
		},
		"somebody answers for everything": {
			func(w *world) {
				w.arp[nobodyAddr], w.arp[spareAddr] = map[string]int{mac(77): 1}, map[string]int{mac(77): 1}
			},
			map[string]string{"unassigned-address-silent": "answered-everywhere"},
		},
		"no spare address was asked for": {
			func(w *world) { w.noSpare = true },
			map[string]string{"unassigned-address-silent": "no-data"},
		},
		"a node answers for the Service without endpoints": {
			func(w *world) { w.arp[vipIdle] = map[string]int{mac(1): 10} },
			map[string]string{"no-endpoint-not-announced": "responders=1"},
		},
		"all nodes answer for the Service without endpoints": {
			func(w *world) { w.arp[vipIdle] = map[string]int{mac(0): 1, mac(1): 1, mac(2): 1} },
			map[string]string{"no-endpoint-not-announced": "responders=3"},
		},
		"the Service without endpoints has one": {
			func(w *world) {
				w.objects.Backends = append(w.objects.Backends, journal.Backend{Service: "echo-idle", Pod: "x", Node: "worker"})
			},
			map[string]string{"no-endpoint-not-announced": "no-data"},
		},
		"the Service without endpoints has no address": {
			func(w *world) { w.objects.Services[5].VIP = "" },
			map[string]string{"no-endpoint-not-announced": "no-data", "dataplane-active": "vip-unassigned", "l2-advertisement-present": "vip-unassigned"},
		},
		"the segment never came to rest": {
			func(w *world) { w.settle.Stable = false },
			map[string]string{"single-responder": "unstable"},
		},
		"nobody waited for the segment to come to rest": {func(w *world) { w.settle = nil }, nil},
		"requests to the near VIP fail": {
			func(w *world) { w.errors["echo-near"], w.backends["echo-near"] = 400, map[string]map[string]int{} },
			map[string]string{"backend-on-announcer": "unreachable"},
		},
		"one request to the near VIP fails": {
			func(w *world) { w.errors["echo-near"] = 1 },
			map[string]string{"backend-on-announcer": "errors"},
		},
		"the near VIP is answered elsewhere": {func(w *world) {
			w.objects.Backends = append(w.objects.Backends, journal.Backend{Service: "echo-near", Pod: "z", Node: w.topology.Nodes[3-elected(vipNear)].Name})
			w.backends["echo-near"]["z"] = map[string]int{nodeAddr(1): 1}
		}, map[string]string{"backend-on-announcer": "backend-off-announcer"}},
		"nobody asked the near VIP": {
			func(w *world) { delete(w.backends, "echo-near") },
			map[string]string{"backend-on-announcer": "no-data"},
		},
		"affinity forgets once": {
			func(w *world) { w.backends["echo-sticky"]["c"] = map[string]int{nodeAddr(1): 1} },
			map[string]string{"session-affinity": "spread"},
		},
		"the sticky VIP is dead": {
			func(w *world) { w.errors["echo-sticky"], w.backends["echo-sticky"] = 400, map[string]map[string]int{} },
			map[string]string{"session-affinity": "unreachable"},
		},
		"no VIP is answered, so affinity has no control either": {func(w *world) {
			for _, service := range []string{"echo-cluster", "echo-sticky"} {
				w.errors[service], w.backends[service] = 400, map[string]map[string]int{}
			}
		}, map[string]string{
			"session-affinity": "unreachable", "reachable-cluster-policy": "unreachable", "every-backend-reached": "unreachable", "source-address": "unreachable",
		}},
		"everything sticks, so affinity shows nothing": {
			func(w *world) { w.backends["echo-cluster"] = map[string]map[string]int{"a": {nodeAddr(1): 400}} },
			map[string]string{"session-affinity": "no-data", "every-backend-reached": "missing=3"},
		},
		"the sticky Service has one backend": {func(w *world) {
			w.objects.Backends = slices.DeleteFunc(w.objects.Backends, func(b journal.Backend) bool { return b.Service == "echo-sticky" && b.Pod != "b" })
		}, map[string]string{"session-affinity": "no-data"}},
		"too few requests to the sticky VIP": {
			func(w *world) { w.backends["echo-sticky"]["b"] = map[string]int{nodeAddr(1): 19} },
			map[string]string{"session-affinity": "no-data"},
		},
		"no datagram is answered": {
			func(w *world) { w.udpErrors["echo-cluster"], w.udp["echo-cluster"] = 100, map[string]map[string]int{} },
			map[string]string{"udp-echo": "unreachable"},
		},
		"a datagram is answered from another address": {
			func(w *world) { w.udpErrors["echo-local"], w.kind = 1, probe.ErrorWrongSource },
			map[string]string{"udp-echo": "wrong-source"},
		},
		"an answer to a datagram names nobody": {
			func(w *world) { w.udp["echo-cluster"][""] = map[string]int{clientAddr: 1} },
			map[string]string{"udp-echo": "no-data"},
		},
		"one datagram to the local VIP is lost": {
			func(w *world) { w.udpErrors["echo-local"] = 1 },
			map[string]string{"udp-echo": "errors"},
		},
		"a backend gets no datagram": {
			func(w *world) { delete(w.udp["echo-cluster"], "d") },
			map[string]string{"udp-echo": "missing=1"},
		},
		"a backend gets three times its share of datagrams": {
			func(w *world) { w.udp["echo-cluster"]["d"] = map[string]int{nodeAddr(1): 75} },
			map[string]string{"udp-echo": "skew"},
		},
		"datagrams to the local VIP are answered elsewhere": {func(w *world) {
			for _, b := range w.objects.Backends {
				if b.Service == "echo-local" && b.Node != w.topology.Nodes[elected(vipLocal)].Name {
					w.udp["echo-local"][b.Pod] = map[string]int{clientAddr: 1}
				}
			}
		}, map[string]string{"udp-echo": "backend-off-announcer"}},
		"the local VIP was sent no datagram": {
			func(w *world) { delete(w.udp, "echo-local") },
			map[string]string{"udp-echo": "no-data"},
		},
		"the datagrams were not sent": {
			func(w *world) { w.broken[journal.ObsUDP] = "the client is gone" },
			map[string]string{"udp-echo": "no-data"},
		},
		"datagrams over 1400 bytes are lost": {
			func(w *world) { w.payloads["udp-1472"], w.payloads["udp-8000"] = 20, 20 },
			map[string]string{"large-datagrams": "lost=1472"},
		},
		"one fragmented datagram of twenty is lost": {
			func(w *world) { w.payloads["udp-8000"] = 1 },
			map[string]string{"large-datagrams": "lost=8000"},
		},
		"one of 1400 bytes comes back wrong": {
			func(w *world) { w.payloads["udp-1400"], w.kind = 1, probe.ErrorCorrupt },
			map[string]string{"large-datagrams": "corrupt=1400"},
		},
		"no datagram comes back": {
			func(w *world) {
				for _, n := range []string{"32", "1400", "1472", "8000"} {
					w.payloads["udp-"+n] = 20
				}
			},
			map[string]string{"large-datagrams": "unreachable"},
		},
		"a small datagram is lost": {
			func(w *world) { w.payloads["udp-32"] = 1 },
			map[string]string{"large-datagrams": "lost=32"},
		},
		"a large response is cut": {
			func(w *world) { w.payloads["http"], w.kind = 1, probe.ErrorCorrupt },
			map[string]string{"large-datagrams": "response-corrupt"},
		},
		"large responses do not come": {
			func(w *world) { w.payloads["http"] = 20 },
			map[string]string{"large-datagrams": "response-lost"},
		},
		"the remote Service has no backend": {func(w *world) {
			w.objects.Backends = slices.DeleteFunc(w.objects.Backends, func(b journal.Backend) bool { return b.Service == "echo-remote" })
		}, map[string]string{"large-datagrams": "no-data", "direct-server-return": "no-data"}},
		"pods cannot reach the local VIP": {
			func(w *world) { w.inside["pod@worker"] = map[string]int{"echo-local": 40} },
			map[string]string{"in-cluster-to-vip": "pod-local"},
		},
		"one request of a node to the cluster VIP fails": {
			func(w *world) { w.inside["node@control-plane"] = map[string]int{"echo-cluster": 1} },
			map[string]string{"in-cluster-to-vip": "node-cluster"},
		},
		"a node did not ask": {
			func(w *world) { w.absent = "node@control-plane" },
			map[string]string{"in-cluster-to-vip": "no-data"},
		},
		"nodes and pods cannot reach the local VIP": {
			func(w *world) {
				w.inside["node@worker2"], w.inside["pod@worker2"] = map[string]int{"echo-local": 40}, map[string]int{"echo-local": 40}
			},
			map[string]string{"in-cluster-to-vip": "node-local+pod-local"},
		},
		"transfers through the VIP take twice as long": {
			func(w *world) {
				for i := range w.transfers["vip"] {
					w.transfers["vip"][i] = 2 * w.transfers["nodeport"][i]
				}
			},
			map[string]string{"throughput": "p50-ratio"},
		},
		"a few transfers are held up": {
			func(w *world) {
				for i := range 4 {
					w.transfers["vip"][5*i] *= 4
				}
			},
			nil,
		},
		"nearly half of the transfers take four times as long": {
			func(w *world) {
				for i := range 9 {
					w.transfers["vip"][2*i] *= 4
				}
			},
			map[string]string{"throughput": "p90-ratio"},
		},
		"a transfer through the VIP fails": {
			func(w *world) { w.transfers["vip"][3] = 0 },
			map[string]string{"throughput": "errors"},
		},
		"no transfer through the VIP comes whole": {
			func(w *world) { clear(w.transfers["vip"]) },
			map[string]string{"throughput": "unreachable"},
		},
		"a transfer through the NodePort fails": {
			func(w *world) { w.transfers["nodeport"][3] = 0 },
			map[string]string{"throughput": "no-data"},
		},
		"too few transfers": {
			func(w *world) {
				w.transfers["vip"], w.transfers["nodeport"] = w.transfers["vip"][:9], w.transfers["nodeport"][:9]
			},
			map[string]string{"throughput": "no-data"},
		},
		"the new observations broke": {
			func(w *world) {
				for _, id := range []string{journal.ObsPayloads, journal.ObsInCluster, journal.ObsThroughput} {
					w.broken[id] = "the client is gone"
				}
			},
			map[string]string{"large-datagrams": "no-data", "in-cluster-to-vip": "no-data", "throughput": "no-data"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := healthy()
			tc.change(w)
			for id, c := range verdicts(t, w) {
				id = id[len("baseline/"):]
				code := tc.want[id]
				if code == "" {
					code = "ok"
				}
				require.Equal(t, code, c.Verdict.Code, "%s: %s", id, c.Verdict.Message)
				switch code {
				case "ok":
					require.Equal(t, judge.ResultPassed, c.Result, id)
				case "no-data":
					require.Equal(t, judge.ResultBroken, c.Result, id)
				default:
					require.Equal(t, judge.ResultFailed, c.Result, id)
				}
			}
		})
	}
}

// cilium turns a healthy world into one where Cilium replaces kube-proxy.
func cilium(forwarding scenario.Forwarding, mode string) *world {
	w := healthy()
	w.spec.Spec.DataPlane = scenario.DataPlane{Proxy: scenario.ProxyCilium, Forwarding: forwarding}
	w.spec.Spec.Cluster.CNI = scenario.CNICilium
	flags := "LoadBalancer"
	if mode != "SNAT" {
		flags += ", dsr"
	}
	for i := range w.proofs {
		w.proofs[i].ProxyMode, w.proofs[i].Rules, w.proofs[i].Pods = "", map[string]string{"iptables": "", "nftables": "", "ipvs": ""}, []string{"cilium-x"}
		w.proofs[i].Errors = map[string]string{"proxyMode": "connection refused"}
		w.proofs[i].Cilium = &journal.CiliumProof{
			Replacement: json.RawMessage(fmt.Sprintf(`{"mode":"True","features":{"nodePort":{"enabled":true,"mode":%q}}}`, mode)),
			Frontends:   map[string][]string{},
		}
		for _, vip := range served() {
			w.proofs[i].Cilium.Frontends[vip+":80/TCP (0)"] = []string{"0.0.0.0:0 (1) (0) [" + flags + "] "}
		}
	}
	if mode != "SNAT" { // the backend's node answers, and the backend sees the client
		direct := []string{mac(3 - elected(vipRemote))}
		w.replies["tcp"] = direct
		if mode == "DSR" {
			w.replies["udp"] = direct
		}
		for service := range w.backends {
			for pod := range w.backends[service] {
				n := 0
				for _, k := range w.backends[service][pod] {
					n += k
				}
				w.backends[service][pod] = map[string]int{clientAddr: n}
			}
		}
	}
	return w
}

func TestCiliumWorlds(t *testing.T) {
	for name, tc := range map[string]struct {
		world  *world
		change func(*world)
		want   map[string]string
	}{
		"snat":   {cilium(scenario.ForwardingSNAT, "SNAT"), nil, nil},
		"dsr":    {cilium(scenario.ForwardingDSR, "DSR"), nil, nil},
		"hybrid": {cilium(scenario.ForwardingHybrid, "Hybrid"), nil, nil},
		"dsr is off, silently": {cilium(scenario.ForwardingDSR, "SNAT"), nil, map[string]string{
			"dataplane-active": "forwarding=snat", "direct-server-return": "reply-path=announcer", "source-address": "cluster-source",
		}},
		"hybrid returns UDP directly too": {cilium(scenario.ForwardingHybrid, "Hybrid"), func(w *world) {
			w.replies["udp"] = w.replies["tcp"]
		}, map[string]string{"direct-server-return": "udp-reply-path=backend"}},
		"the status says DSR and the wire does not": {cilium(scenario.ForwardingDSR, "DSR"), func(w *world) {
			w.replies["tcp"] = []string{mac(elected(vipRemote))}
		}, map[string]string{"direct-server-return": "reply-path=announcer"}},
		"the table says no dsr": {cilium(scenario.ForwardingDSR, "DSR"), func(w *world) {
			w.proofs[2].Cilium.Frontends[vipLocal+":80/TCP (0)"] = []string{"0.0.0.0:0 (1) (0) [LoadBalancer] "}
		}, map[string]string{"dataplane-active": "vip-not-dsr"}},
		"a VIP is in no table": {cilium(scenario.ForwardingSNAT, "SNAT"), func(w *world) {
			delete(w.proofs[1].Cilium.Frontends, vipRemote+":80/TCP (0)")
		}, map[string]string{"dataplane-active": "vip-not-programmed"}},
		"kube-proxy is not replaced": {cilium(scenario.ForwardingSNAT, "SNAT"), func(w *world) {
			w.proofs[1].Cilium.Replacement = json.RawMessage(`{"mode":"False"}`)
		}, map[string]string{"dataplane-active": "replacement=False"}},
		"an agent does not answer": {cilium(scenario.ForwardingSNAT, "SNAT"), func(w *world) {
			w.proofs[1].Cilium, w.proofs[1].Errors["cilium"] = nil, "no agent"
		}, map[string]string{"dataplane-active": "no-data"}},
		"kube-proxy came back": {cilium(scenario.ForwardingSNAT, "SNAT"), func(w *world) {
			w.proofs[1].Pods = append(w.proofs[1].Pods, "kube-proxy-abcde")
		}, map[string]string{"leftover-dataplane": "leftover=kube-proxy"}},
		"kube-proxy's rules stayed": {cilium(scenario.ForwardingSNAT, "SNAT"), func(w *world) {
			w.proofs[1].Rules["iptables"] = "-A KUBE-SERVICES -d 10.96.0.1/32"
		}, map[string]string{"leftover-dataplane": "leftover=iptables"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.change != nil {
				tc.change(tc.world)
			}
			for id, c := range verdicts(t, tc.world) {
				want := tc.want[id[len("baseline/"):]]
				if want == "" {
					want = "ok"
				}
				require.Equal(t, want, c.Verdict.Code, "%s: %s", id, c.Verdict.Message)
			}
		})
	}
}

// Cilium as the CNI beside kube-proxy: both must be what the scenario says.
func TestCiliumBesideKubeProxy(t *testing.T) {
	beside := func(mode string) *world {
		w := healthy()
		w.spec.Spec.Cluster.CNI = scenario.CNICilium
		for i := range w.proofs {
			w.proofs[i].Cilium = &journal.CiliumProof{Replacement: json.RawMessage(fmt.Sprintf(`{"mode":%q}`, mode))}
		}
		return w
	}
	require.Equal(t, "ok", verdicts(t, beside("False"))["baseline/dataplane-active"].Verdict.Code)
	require.Equal(t, "replacement=True", verdicts(t, beside("True"))["baseline/dataplane-active"].Verdict.Code)
}

func TestStrictARP(t *testing.T) {
	strict := func(change func(p *journal.NodeProof)) judge.Cell {
		w := healthy()
		w.spec.Spec.DataPlane.Proxy, w.spec.Spec.DataPlane.StrictARP = scenario.ProxyIPVS, true
		w.phases = []journal.PlannedPhase{{Name: journal.PhaseBaseline, Checks: judge.For(w.spec)}}
		for i := range w.proofs {
			p := &w.proofs[i]
			p.ProxyMode, p.Links = "ipvs", append(p.Links, "kube-ipvs0")
			p.Rules = map[string]string{"iptables": "", "nftables": "", "ipvs": "TCP  " + strings.Join(served(), ":80 rr\nTCP  ") + ":80 rr\n"}
			p.ProxyConfig = `{"kubeproxy.config.k8s.io":{"Mode":"ipvs","IPVS":{"SyncPeriod":"30s","StrictARP":true}}}`
			for key, value := range map[string]string{"all.arp_ignore": "1", "all.arp_announce": "2", "eth0.arp_ignore": "0", "eth0.arp_announce": "0"} {
				p.Sysctls["net.ipv4.conf."+key] = value
			}
		}
		change(&w.proofs[1])
		got := verdicts(t, w)
		require.Equal(t, "ok", got["baseline/dataplane-active"].Verdict.Code)
		require.Equal(t, "ok", got["baseline/leftover-dataplane"].Verdict.Code)
		return got["baseline/strict-arp-applied"]
	}
	require.Equal(t, "ok", strict(func(*journal.NodeProof) {}).Verdict.Code)
	require.Equal(t, "arp_ignore=0", strict(func(p *journal.NodeProof) { p.Sysctls["net.ipv4.conf.all.arp_ignore"] = "0" }).Verdict.Code)
	require.Equal(t, "ok", strict(func(p *journal.NodeProof) {
		p.Sysctls["net.ipv4.conf.all.arp_ignore"], p.Sysctls["net.ipv4.conf.eth0.arp_ignore"] = "0", "1"
	}).Verdict.Code, "the interface's own is enough")
	require.Equal(t, "arp_announce=1", strict(func(p *journal.NodeProof) { p.Sysctls["net.ipv4.conf.all.arp_announce"] = "1" }).Verdict.Code)
	require.Equal(t, "no-data", strict(func(p *journal.NodeProof) { delete(p.Sysctls, "net.ipv4.conf.eth0.arp_announce") }).Verdict.Code)
	told := func(config string) func(*journal.NodeProof) {
		return func(p *journal.NodeProof) { p.ProxyConfig = config }
	}
	require.Equal(t, "strictARP=false", strict(told(`{"kubeproxy.config.k8s.io":{"ipvs":{"strictARP":false}}}`)).Verdict.Code)
	for _, config := range []string{"", "404 page not found", "{}", `{"kubeproxy.config.k8s.io":{"IPVS":{}}}`} {
		require.Equal(t, "no-data", strict(told(config)).Verdict.Code, "%q says nothing", config)
	}
	reverted := strict(func(p *journal.NodeProof) { p.Sysctls["net.ipv4.conf.all.arp_ignore"] = "0" })
	require.Contains(t, reverted.Verdict.Message, "configuration says strictARP: true")
	require.NotContains(t, judge.For(healthy().spec), "strict-arp-applied", "iptables mode has no strict ARP to judge")
}

// TestRefusedFault: what a fault on an unhealthy segment would show is not known. Where the
// baseline is red that is the news; where it was green, something else went wrong.
func TestRefusedFault(t *testing.T) {
	phase := journal.MutationPhase("m")
	for name, tc := range map[string]struct {
		change func(*world)
		want   judge.Result
	}{
		"red baseline":   {func(w *world) { w.arp[vipLocal][mac(0)] = 1 }, judge.ResultSkipped},
		"green baseline": {func(*world) {}, judge.ResultBroken},
	} {
		t.Run(name, func(t *testing.T) {
			w := mutated(tc.change)
			w.faults = map[string][]journal.Fault{phase: {{Name: "m", Action: journal.FaultRefuse, Detail: "the segment is not healthy"}}}
			for id, c := range verdicts(t, w) {
				if c.Phase != journal.PhaseBaseline {
					require.Equal(t, tc.want, c.Result, id)
					require.Contains(t, c.Verdict.Message, "the segment is not healthy", id)
				}
			}
		})
	}
}

// TestSkippedPhase: what the user left out is told, and is neither missed nor broken.
func TestSkippedPhase(t *testing.T) {
	w := mutated(func(*world) {})
	w.phases[1].Skipped = "left out"
	got := verdicts(t, w)
	for _, id := range w.phases[1].Checks {
		require.Equal(t, judge.ResultSkipped, got[w.phases[1].Name+"/"+id].Result, id)
	}
}

// mutated is a healthy baseline followed by a mutation that silences the VIPs.
func mutated(change func(*world)) *world {
	w := healthy()
	checks := []string{"l2-advertisement-present", "single-responder", "responder-is-announcer"}
	w.phases = append(w.phases, journal.PlannedPhase{
		Name: journal.MutationPhase("m"), Checks: checks,
		Expect: []journal.Expect{{Check: "single-responder", Code: "responders=0", Consequences: []string{"responder-is-announcer"}}},
	})
	w.faults[journal.MutationPhase("m")] = []journal.Fault{{Name: "m", Action: journal.FaultApply}, {Name: "m", Action: journal.FaultVerify}}
	change(w)
	return w
}

func TestMutationThatShowsNothingIsMissed(t *testing.T) {
	got := verdicts(t, mutated(func(*world) {}))
	require.Equal(t, judge.ResultMissed, got["mutation/m/single-responder"].Result)
	require.Equal(t, judge.ResultPassed, got["mutation/m/l2-advertisement-present"].Result)
}

func TestCatcherThatWasRedBeforeProvesNothing(t *testing.T) {
	got := verdicts(t, mutated(func(w *world) { w.arp[vipCluster] = nil }))
	require.Equal(t, judge.ResultFailed, got["baseline/single-responder"].Result)
	require.Equal(t, judge.ResultBroken, got["mutation/m/single-responder"].Result)
	require.Equal(t, "baseline-not-green", got["mutation/m/single-responder"].Verdict.Code)
	require.Equal(t, judge.ResultConsequence, got["mutation/m/responder-is-announcer"].Result)
}

// A segment that was not healed before a fault makes the catch worthless; this reads
// each phase of the world from journals of two worlds, joined.
func TestCatchAfterAPhaseThatWasNotHealedProvesNothing(t *testing.T) {
	w := healthy()
	checks := []string{"single-responder", "source-address"}
	expect := []journal.Expect{{Check: "single-responder", Code: "responders=2"}}
	w.phases = []journal.PlannedPhase{
		{Name: journal.PhaseBaseline, Checks: checks},
		{Name: journal.RestoredPhase("first"), Checks: checks},
		{Name: journal.MutationPhase("second"), Checks: checks, Expect: expect},
	}
	w.faults[journal.RestoredPhase("first")] = []journal.Fault{{Name: "first", Action: journal.FaultUndo}, {Name: "first", Action: journal.FaultVerify}}
	w.faults[journal.MutationPhase("second")] = []journal.Fault{{Name: "second", Action: journal.FaultApply}, {Name: "second", Action: journal.FaultVerify}}
	w.in = map[string]func(){
		journal.RestoredPhase("first"):  func() { w.arp[vipCluster][mac(0)] = 1 },
		journal.MutationPhase("second"): func() { w.arp[vipCluster][mac(0)] = 1 },
	}
	got := verdicts(t, w)
	require.Equal(t, judge.ResultPassed, got["baseline/single-responder"].Result)
	require.Equal(t, judge.ResultFailed, got["restored/first/single-responder"].Result)
	require.Equal(t, judge.ResultBroken, got["mutation/second/single-responder"].Result)
	require.Equal(t, "restored-not-green", got["mutation/second/single-responder"].Verdict.Code)
}

func TestAnnouncementByAnotherHostIsAFinding(t *testing.T) {
	w := healthy()
	w.claims = map[string][]string{vipCluster: {mac(elected(vipCluster)), mac(77)}}
	v := verdicts(t, w)["baseline/single-responder"].Verdict
	require.Equal(t, judge.Passed, v.Outcome)
	require.Len(t, v.Findings, 1)
	require.Contains(t, v.Findings[0].Message, mac(77))
}

// A node that answers for a Service of policy Local without any endpoint is wrong, and
// nothing is missing to say so.
func TestAnsweringWithoutAnyEndpointIsWrong(t *testing.T) {
	w := healthy()
	w.objects.Backends = slices.DeleteFunc(w.objects.Backends, func(b journal.Backend) bool { return b.Service == "echo-local" })
	c := verdicts(t, w)["baseline/responder-is-announcer"]
	require.Equal(t, judge.ResultFailed, c.Result)
	require.Equal(t, "no-local-endpoint", c.Verdict.Code)
}

func TestNodeAddressOfTwoHostsIsAFinding(t *testing.T) {
	w := healthy()
	w.arp[nodeAddr(1)][mac(77)] = 1
	v := verdicts(t, w)["baseline/single-responder"].Verdict
	require.Len(t, v.Findings, 1)
	require.Contains(t, v.Findings[0].Message, mac(77)+" (no node)")
}

// What single-responder tolerates, it tells.
func TestToleratedAnswersAreFindings(t *testing.T) {
	w := healthy()
	w.settle.Seen = []journal.SettleChange{
		{AtMS: 0, Responders: map[string][]string{vipLocal: {mac(1), mac(2)}, vipCluster: {mac(1)}}},
		{AtMS: 600, Responders: map[string][]string{vipLocal: {mac(1)}, vipCluster: {mac(1)}}},
	}
	w.again = map[string]int{vipRemote: 7}
	v := verdicts(t, w)["baseline/single-responder"].Verdict
	require.Equal(t, judge.Passed, v.Outcome, v.Message)
	require.Len(t, v.Findings, 2)
	require.Equal(t, "metallb", v.Findings[0].Component)
	require.Contains(t, v.Findings[0].Message, vipLocal+" was answered by "+mac(1)+" (worker), "+mac(2)+" (worker2)")
	require.Contains(t, v.Findings[1].Message, vipRemote+" (echo-remote) got 7 answers more than broadcasts")
}

// A restless segment is what a mutation is to bring about: there it is no verdict of its own.
func TestRestlessSegmentInAMutation(t *testing.T) {
	got := verdicts(t, mutated(func(w *world) { w.settle.Stable = false }))
	require.Equal(t, "unstable", got["baseline/single-responder"].Verdict.Code)
	require.Equal(t, judge.ResultMissed, got["mutation/m/single-responder"].Result)
}

func TestSecondResponderIsDescribed(t *testing.T) {
	w := healthy()
	w.probes = 50
	w.arp[vipCluster][mac(77)] = 10
	v := verdicts(t, w)["baseline/single-responder"].Verdict
	require.Contains(t, v.Message, mac(77)+" (no node) 5 times from")
}

// The power that spread tells is what a simulation of the test gives, within 0.07 and four
// standard deviations of the simulation: the approximation is one for small effects. The
// figures of its documentation are here.
func TestSkewPower(t *testing.T) {
	const trials = 3000
	rng := rand.New(rand.NewPCG(1, 2))
	for _, tc := range []struct {
		n            int64
		k            int
		alpha, share float64
	}{{400, 4, 1e-6, 0.5}, {400, 4, 1e-6, 0.25}, {200, 2, 1e-6, 0.5}, {100, 5, 1e-3, 0.5}, {400, 4, 0.01, 1}} {
		critical := distuv.ChiSquared{K: float64(tc.k - 1)}.Quantile(1 - tc.alpha)
		found := 0.0
		for range trials {
			counts := make([]float64, tc.k)
			for range tc.n {
				i := rng.IntN(tc.k) // the first keeps a share of what is its due
				if i == 0 && rng.Float64() >= tc.share {
					i = 1 + rng.IntN(tc.k-1)
				}
				counts[i]++
			}
			chi2, expected := 0.0, float64(tc.n)/float64(tc.k)
			for _, c := range counts {
				chi2 += (c - expected) * (c - expected) / expected
			}
			if chi2 > critical {
				found++
			}
		}
		want := judge.SkewPower(tc.n, tc.k, tc.alpha, tc.share)
		got := found / trials
		require.InDelta(t, want, got, 0.07+4*math.Sqrt(0.25/trials), "%+v", tc)
	}
	require.InDelta(t, 0.66, judge.SkewPower(400, 4, 1e-6, 0.5), 0.005)
	require.Greater(t, judge.SkewPower(400, 4, 1e-6, 0.25), 0.99)
}

func TestUnverifiedMutationIsBroken(t *testing.T) {
	got := verdicts(t, mutated(func(w *world) { w.faults[journal.MutationPhase("m")] = nil }))
	require.Equal(t, judge.ResultBroken, got["mutation/m/single-responder"].Result)
	require.Contains(t, got["mutation/m/single-responder"].Verdict.Message, "no record of apply")
}

// A status that names the node before a handover at boot is MetalLB's bug, not the
// data plane's: seen on a real cluster.
func TestStaleStatusAfterAHandoverIsAFinding(t *testing.T) {
	w := healthy()
	other := w.topology.Nodes[3-elected(vipLocal)].Name
	w.objects.L2Statuses[1].Node = other
	require.Equal(t, "l2status", verdicts(t, w)["baseline/announcer-status-agrees"].Verdict.Code, "without an event nobody announced from there")
	w.objects.Events = append(w.objects.Events, journal.Event{
		Service: "echo-local", Reason: "nodeAssigned",
		Message: fmt.Sprintf("announcing from node %q with protocol \"layer2\"", other), Last: time.Unix(0, 5),
	})
	got := verdicts(t, w)["baseline/announcer-status-agrees"]
	require.Equal(t, judge.ResultPassed, got.Result, got.Verdict.Message)
	require.Len(t, got.Verdict.Findings, 1)
	require.Contains(t, got.Verdict.Findings[0].Message, "before a handover")
	w.objects.Events[len(w.objects.Events)-1].Last = time.Unix(9, 0)
	require.Equal(t, "l2status", verdicts(t, w)["baseline/announcer-status-agrees"].Verdict.Code, "the other node is the newer announcer")
}

func TestLateClientMakesFiguresSuspectNotBroken(t *testing.T) {
	w := healthy()
	w.latency[journal.StreamRequest+"/vip"] = hist{p50: 200e3, p90: 300e3, n: 1000, late: 100}
	got := verdicts(t, w)
	require.Equal(t, judge.ResultPassed, got["baseline/request-latency"].Result)
	require.Len(t, got["baseline/request-latency"].Verdict.Findings, 1)
	require.Contains(t, got["baseline/request-latency"].Verdict.Findings[0].Message, "10 % (VIP) and 0 % (NodePort)")
	require.Empty(t, got["baseline/connect-latency"].Verdict.Findings)
}

func TestCombine(t *testing.T) {
	v := func(o judge.Outcome, code string) judge.Verdict { return judge.Verdict{Outcome: o, Code: code} }
	for _, tc := range []struct {
		v           judge.Verdict
		expected    string
		consequence bool
		want        judge.Result
	}{
		{v(judge.Passed, "ok"), "", false, judge.ResultPassed},
		{v(judge.Passed, "ok"), "responders=0", false, judge.ResultMissed},
		{v(judge.Passed, "ok"), "", true, judge.ResultPassed},
		{v(judge.Failed, "a"), "", false, judge.ResultFailed},
		{v(judge.Failed, "a"), "", true, judge.ResultConsequence},
		{v(judge.Failed, "a"), "a", false, judge.ResultCaught},
		{v(judge.Failed, "a"), "b", true, judge.ResultMissed},
		{v(judge.Broken, "x"), "x", true, judge.ResultBroken},
		{v(judge.Unsupported, "x"), "x", false, judge.ResultUnsupported},
		{v(judge.Skipped, "x"), "", false, judge.ResultSkipped},
		{v("nonsense", "x"), "", false, judge.ResultBroken},
	} {
		require.Equal(t, tc.want, judge.Combine(tc.v, tc.expected, tc.consequence), "%+v", tc)
	}
}

// TestElection uses vectors taken from MetalLB's own election.
func TestElection(t *testing.T) {
	nodes := []string{"kind-control-plane", "kind-worker", "kind-worker2"}
	for _, tc := range []struct {
		ip   string
		want []string
	}{
		{"172.18.255.200", []string{"kind-worker2", "kind-worker"}},
		{"172.18.255.201", []string{"kind-worker2", "kind-control-plane"}},
		{"172.23.2.40", []string{"kind-control-plane", "kind-worker2", "kind-worker"}},
	} {
		left := slices.Clone(nodes)
		for _, want := range tc.want {
			got := judge.Elect(left, tc.ip)
			require.Equal(t, want, got, tc.ip)
			left = slices.DeleteFunc(left, func(n string) bool { return n == got })
		}
	}
	require.Empty(t, judge.Elect(nil, "192.0.2.1"))
}

func TestCatalogueIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range judge.Checks() {
		require.False(t, seen[c.ID], "%s is there twice", c.ID)
		seen[c.ID] = true
		for what, v := range map[string]string{"family": c.Family, "title": c.Title, "why": c.Why, "method": c.Method} {
			require.NotEmpty(t, v, "%s of %s", what, c.ID)
		}
		require.NotEmpty(t, c.Needs, c.ID)
		require.Contains(t, c.Codes, "ok", c.ID)
	}
}

// rank orders results from best to worst for the damage property: damage may make
// a verdict worse, never better.
func rank(r judge.Result) int {
	return slices.Index([]judge.Result{judge.ResultPassed, judge.ResultConsequence, judge.ResultCaught, judge.ResultFailed, judge.ResultMissed, judge.ResultBroken}, r)
}

// TestDamageNeverHelps drops, repeats or swaps a line of journals of several worlds.
func TestDamageNeverHelps(t *testing.T) {
	worlds := []func() *world{
		healthy,
		func() *world { w := crowded(2); w.arp[w.more[1]] = map[string]int{mac(1): 4}; return w },
		func() *world { w := healthy(); w.arp[vipCluster][mac(0)] = 3; return w },
		func() *world { w := healthy(); w.errors["echo-cluster"] = 3; return w },
		func() *world { return restored(takeover{from: 10, announced: []int64{2000}}) },
		func() *world {
			w := healthy()
			w.settle.Stable = false
			w.arp[spareAddr], w.arp[vipIdle] = map[string]int{mac(1): 2}, map[string]int{mac(1): 2}
			w.backends["echo-sticky"]["c"] = map[string]int{nodeAddr(1): 1}
			w.udpErrors["echo-local"], w.payloads["udp-1472"], w.transfers["vip"][3] = 1, 2, 0
			w.inside["pod@worker"] = map[string]int{"echo-local": 1}
			return w
		},
		func() *world { return mutated(func(w *world) { w.proofs[1].ProxyMode = "ipvs" }) },
	}
	var texts [][]byte
	var befores []map[string]judge.Result
	for _, make := range worlds {
		w := make()
		w.probes = min(w.probes, 5) // every line is as good as any other; fewer make the property cheaper
		data, err := os.ReadFile(w.write(t, t.TempDir()))
		require.NoError(t, err)
		before, err := judgeText(data)
		require.NoError(t, err)
		texts, befores = append(texts, data), append(befores, before)
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, len(texts)-1).Draw(t, "world")
		data, before := texts[n], befores[n]
		lines := bytes.SplitAfter(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
		lines[len(lines)-1] = append(bytes.Clone(lines[len(lines)-1]), '\n')
		i := rapid.IntRange(1, len(lines)-1).Draw(t, "line")
		var damaged [][]byte
		switch rapid.SampledFrom([]string{"drop", "repeat", "swap", "truncate"}).Draw(t, "damage") {
		case "drop":
			damaged = slices.Concat(lines[:i], lines[i+1:])
		case "repeat":
			damaged = slices.Concat(lines[:i+1], lines[i:])
		case "swap":
			damaged = slices.Clone(lines)
			damaged[i], damaged[i-1] = damaged[i-1], damaged[i]
		case "truncate":
			damaged = lines[:i]
		}
		after, err := judgeText(bytes.Join(damaged, nil))
		if err != nil {
			return // nothing at all can be judged
		}
		for k, was := range before {
			if now, ok := after[k]; !ok || rank(now) < rank(was) {
				t.Fatalf("%s was %s and is %s after damage", k, was, now)
			}
		}
	})
}

func judgeText(data []byte) (map[string]judge.Result, error) {
	j, err := journal.Read(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	cells, err := judge.Journal(j)
	if err != nil {
		return nil, err
	}
	out := map[string]judge.Result{}
	for _, c := range cells {
		out[c.Phase+"/"+c.Check] = c.Result
	}
	return out, nil
}

// TestForeignResponderOnlyWorsens adds a responder to any segment.
func TestForeignResponderOnlyWorsens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := healthy()
		w.probes = 8
		// Only these look at who answers; the rest of a world would cost the most.
		w.phases[0].Checks = []string{"single-responder", "responder-is-announcer", "announcer-status-agrees", "unassigned-address-silent", "no-endpoint-not-announced"}
		for i := range w.topology.Nodes {
			if rapid.Bool().Draw(rt, fmt.Sprintf("node %d answers", i)) {
				w.arp[vipCluster][mac(i)] = rapid.IntRange(1, 5).Draw(rt, "every")
			}
		}
		dir, err := os.MkdirTemp("", "judge")
		if err != nil {
			rt.Fatalf("%v", err)
		}
		defer os.RemoveAll(dir)
		read := func(sub string) map[string]judge.Result {
			if err := os.MkdirAll(dir+"/"+sub, 0o755); err != nil {
				rt.Fatalf("%v", err)
			}
			data, err := os.ReadFile(w.write(rt, dir+"/"+sub))
			if err != nil {
				rt.Fatalf("%v", err)
			}
			out, err := judgeText(data)
			if err != nil {
				rt.Fatalf("%v", err)
			}
			return out
		}
		before := read("a")
		w.arp[vipCluster][mac(50+rand.IntN(50))] = rapid.IntRange(1, 8).Draw(rt, "foreign every")
		for k, now := range read("b") {
			if rank(now) < rank(before[k]) {
				rt.Fatalf("%s was %s and is %s with a foreign responder", k, before[k], now)
			}
		}
	})
}

func TestUnsupportedScenario(t *testing.T) {
	path := t.TempDir() + "/j"
	spec, err := json.Marshal(scenario.Scenario{})
	require.NoError(t, err)
	w, err := journal.Create(path, journal.Header{Scenario: "s", Spec: spec, Phases: []journal.PlannedPhase{{Name: journal.PhaseBaseline, Checks: judge.IDs()}}})
	require.NoError(t, err)
	require.NoError(t, w.Write(journal.KindUnsupported, journal.Unsupported{Missing: []string{"CONFIG_IP_VS is not set"}, Fix: "use a guest kernel"}))
	require.NoError(t, w.Close("done", nil))
	j, err := journal.ReadFile(path)
	require.NoError(t, err)
	cells, err := judge.Journal(j)
	require.NoError(t, err)
	require.Len(t, cells, len(judge.IDs()))
	for _, c := range cells {
		require.Equal(t, judge.ResultUnsupported, c.Result)
		require.Equal(t, "CONFIG_IP_VS is not set. use a guest kernel", c.Verdict.Message)
	}
}
