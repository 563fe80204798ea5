// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import "time"

// APIVersion and Kind head every scenario file.
const (
	APIVersion = "lbmatrix/v1alpha1"
	Kind       = "Scenario"
)

// Scenario is what one run should be: a data plane, the cluster and components
// that make it, the limits it is judged by and the mutations that prove its checks.
type Scenario struct {
	APIVersion string   `yaml:"apiVersion" json:"apiVersion" jsonschema:"lbmatrix/v1alpha1"`
	Kind       string   `yaml:"kind" json:"kind" jsonschema:"Scenario"`
	Metadata   Metadata `yaml:"metadata" json:"metadata" jsonschema:"how the scenario is named and described"`
	Spec       Spec     `yaml:"spec" json:"spec" jsonschema:"what is built and how it is judged"`
}

// maxName is how many characters a scenario's name may have.
const maxName = 50

// Metadata names a scenario. Name is kebab-case, at most 50 characters: names of
// containers, networks and JUnit suites derive from it.
type Metadata struct {
	Name        string `yaml:"name" json:"name" jsonschema:"kebab-case, at most 50 characters"`
	Title       string `yaml:"title" json:"title" jsonschema:"one line for people"`
	Description string `yaml:"description,omitempty" json:"description,omitempty" jsonschema:"why this scenario exists and what it is expected to show"`
}

// Spec is the body of a scenario.
type Spec struct {
	DataPlane    DataPlane     `yaml:"dataPlane" json:"dataPlane" jsonschema:"the data plane that must be proved to be running"`
	Cluster      Cluster       `yaml:"cluster" json:"cluster" jsonschema:"the cluster that is created"`
	Components   []Component   `yaml:"components" json:"components" jsonschema:"installed with Helm, in this order"`
	LoadBalancer LoadBalancer  `yaml:"loadBalancer" json:"loadBalancer" jsonschema:"the load-balancer addresses and how they are announced"`
	Backend      Backend       `yaml:"backend,omitempty" json:"backend,omitempty" jsonschema:"the workload behind the load balancer"`
	Limits       Limits        `yaml:"limits,omitempty" json:"limits,omitempty" jsonschema:"what the checks allow; every field has a default"`
	Expect       []Expectation `yaml:"expect,omitempty" json:"expect,omitempty" jsonschema:"makes the scenario itself a known-bad one: which checks must catch it, with which code"`
	Mutations    []Mutation    `yaml:"mutations,omitempty" json:"mutations,omitempty" jsonschema:"ways the healthy cluster is broken to prove that the named checks catch it"`
}

// What the Services beside those under test add to limits of time, for each of them and each
// of them on each node: on two cores 300 on 30 nodes took 170 s (docs/running.md, Scale).
const (
	morePerService = 200 * time.Millisecond
	morePerNode    = 10 * time.Millisecond
)

// MoreWithin bounds the time from when the Services beside those under test are made until each
// has an address, and from then until each is answered for: every node writes the rules of all.
func (s *Scenario) MoreWithin() time.Duration {
	return time.Duration(s.Spec.LoadBalancer.MoreServices) * (morePerService + time.Duration(1+s.Spec.Cluster.Workers)*morePerNode)
}

// Proxy says who programs Services.
type Proxy string

// The data planes a scenario can name.
const (
	ProxyIPTables Proxy = "iptables"
	ProxyIPVS     Proxy = "ipvs"
	ProxyNFTables Proxy = "nftables"
	ProxyCilium   Proxy = "cilium" // Cilium's kube-proxy replacement: there is no kube-proxy
)

// Forwarding is how a request that enters at the announcer reaches a backend elsewhere.
type Forwarding string

// The forwarding modes.
const (
	ForwardingSNAT   Forwarding = "snat"   // through the announcer, which rewrites the source
	ForwardingDSR    Forwarding = "dsr"    // direct server return: the backend's node answers the client itself
	ForwardingHybrid Forwarding = "hybrid" // DSR for TCP, SNAT for UDP
)

// DataPlane is what the scenario claims to run, and what dataplane-active proves.
type DataPlane struct {
	Proxy      Proxy      `yaml:"proxy" json:"proxy" jsonschema:"iptables, ipvs or nftables: kube-proxy's mode; cilium: its kube-proxy replacement, without kube-proxy"`
	Forwarding Forwarding `yaml:"forwarding,omitempty" json:"forwarding,omitempty" jsonschema:"snat (default); dsr or hybrid (DSR for TCP, SNAT for UDP) with proxy cilium"`
	StrictARP  bool       `yaml:"strictARP,omitempty" json:"strictARP,omitempty" jsonschema:"kube-proxy's ipvs.strictARP; only read in ipvs mode"`
	// MinSyncPeriod is what Kubernetes' documentation says to raise where a sync takes longer than it.
	MinSyncPeriod Duration `yaml:"minSyncPeriod,omitempty" json:"minSyncPeriod,omitempty" jsonschema:"kube-proxy's minSyncPeriod of its mode: the least time between two writes of its rules, 100ms to 30s; without it kube-proxy has its own, a second for iptables and nftables"`
}

// Programs is how long kube-proxy may wait before it writes a change, however fast it is.
func (d DataPlane) Programs() time.Duration {
	return max(time.Second, time.Duration(d.MinSyncPeriod))
}

// CNI says how pods are connected.
type CNI string

// The ways of connecting pods.
const (
	// CNIStatic is ptp with host-local addresses and a route per peer node, written by
	// the harness: no agent, nothing that could interfere with what is measured.
	CNIStatic CNI = "static"
	// CNICilium is the component cilium, with the node's podCIDR (ipam.mode kubernetes).
	CNICilium CNI = "cilium"
)

// The providers of clusters.
const (
	ProviderAny   = "any"   // whichever is there
	ProviderKind  = "kind"  // nodes are containers, made with the kind library
	ProviderNetns = "netns" // nodes are Linux namespaces; there is no kubelet
)

// IPFamily says which addresses a cluster has.
type IPFamily string

// The families of addresses.
const (
	IPv4 IPFamily = "ipv4"
	Dual IPFamily = "dual" // IPv4 first, and IPv6
)

// Cluster is the cluster under test.
type Cluster struct {
	Provider              string   `yaml:"provider,omitempty" json:"provider,omitempty" jsonschema:"who makes the cluster: kind (containers), netns (processes in namespaces, for kube-proxy only), or any (default) of them"`
	Kubernetes            string   `yaml:"kubernetes" json:"kubernetes" jsonschema:"version, for example v1.35.4"`
	Workers               int      `yaml:"workers" json:"workers" jsonschema:"number of worker nodes, 2 to 120; there is one control plane"`
	CNI                   CNI      `yaml:"cni" json:"cni" jsonschema:"static: ptp and host-local with a route per peer node; cilium: the component cilium"`
	IPFamily              IPFamily `yaml:"ipFamily,omitempty" json:"ipFamily,omitempty" jsonschema:"ipv4 (default), or dual: IPv6 beside it, and a Service with an IPv6 VIP; on namespaces only"`
	PodSubnet             string   `yaml:"podSubnet,omitempty" json:"podSubnet,omitempty" jsonschema:"IPv4 CIDR, default 10.244.0.0/16"`
	ServiceSubnet         string   `yaml:"serviceSubnet,omitempty" json:"serviceSubnet,omitempty" jsonschema:"IPv4 CIDR, default 10.96.0.0/16"`
	ControlPlaneAnnounces bool     `yaml:"controlPlaneAnnounces,omitempty" json:"controlPlaneAnnounces,omitempty" jsonschema:"remove the label node.kubernetes.io/exclude-from-external-load-balancers from the control plane, so that it may announce"`
}

// DualStack says whether nodes, pods and Services have IPv6 addresses as well.
func (c Cluster) DualStack() bool { return c.IPFamily == Dual }

// Component is one Helm release.
type Component struct {
	Name       string         `yaml:"name" json:"name" jsonschema:"release name; also selects the chart and images in the artifact store"`
	Version    string         `yaml:"version" json:"version" jsonschema:"component version, for example v0.15.2"`
	Namespace  string         `yaml:"namespace" json:"namespace" jsonschema:"namespace the release is installed into; created when missing"`
	Values     map[string]any `yaml:"values,omitempty" json:"values,omitempty" jsonschema:"Helm values; win over valuesFile"`
	ValuesFile string         `yaml:"valuesFile,omitempty" json:"valuesFile,omitempty" jsonschema:"Helm values in a file beside the scenario"`
}

// LoadBalancer describes the VIPs.
type LoadBalancer struct {
	PoolSize int `yaml:"poolSize,omitempty" json:"poolSize,omitempty" jsonschema:"addresses in the pool, 7 to 1100, default 10; one for each Service and one that stays free; carved out of the segment away from every address in use"`
	// MoreServices are what a load balancer carries beside the Services under test.
	MoreServices int `yaml:"moreServices,omitempty" json:"moreServices,omitempty" jsonschema:"Services of type LoadBalancer beside those under test, with four backends of their own, 0 (default) to 1000; each is asked for in a sweep of its own"`
}

// Backend is the workload behind the Services.
type Backend struct {
	Replicas int `yaml:"replicas,omitempty" json:"replicas,omitempty" jsonschema:"pods behind each Service, 2 to 120, spread over the workers, one for each of them at least; default 4, or as many as there are workers"`
}

// Limits are what the checks allow. Latency limits are ratios to the NodePort path
// measured interleaved in the same run, never absolute times: machines differ.
type Limits struct {
	ARPProbes         int      `yaml:"arpProbes,omitempty" json:"arpProbes,omitempty" jsonschema:"broadcast who-has requests per address, 5 to 1000, default 460; at 460 whoever answers one in a hundred of them is seen with p >= 0.99"`
	ARPInterval       Duration `yaml:"arpInterval,omitempty" json:"arpInterval,omitempty" jsonschema:"time between two requests for one address, 1ms to 5s, default 10ms"`
	StableFor         Duration `yaml:"stableFor,omitempty" json:"stableFor,omitempty" jsonschema:"one responder must have been stable for this long before anything is judged, 100ms to 10m, default 2s"`
	GratuitousWithin  Duration `yaml:"gratuitousWithin,omitempty" json:"gratuitousWithin,omitempty" jsonschema:"a node that takes a VIP over must announce it by gratuitous ARP within this time of its first answer, 1ms to 1m, default 1s"`
	Requests          int      `yaml:"requests,omitempty" json:"requests,omitempty" jsonschema:"requests per VIP in the traffic observation, 20 to 100000, default 400"`
	RequestRate       int      `yaml:"requestRate,omitempty" json:"requestRate,omitempty" jsonschema:"requests per second and path in the traffic and latency observations, 1 to 2000, default 100"`
	LatencyRequests   int      `yaml:"latencyRequests,omitempty" json:"latencyRequests,omitempty" jsonschema:"measured requests per path in the latency observation, 200 to 1000000, default 1000"`
	InClusterRequests int      `yaml:"inClusterRequests,omitempty" json:"inClusterRequests,omitempty" jsonschema:"requests per VIP from each node and each chosen pod in the in-cluster observation, 10 to 10000, default 40"`
	Exchanges         int      `yaml:"exchanges,omitempty" json:"exchanges,omitempty" jsonschema:"datagrams of each size, and large responses, in the payloads observation, 5 to 1000, default 20"`
	Transfers         int      `yaml:"transfers,omitempty" json:"transfers,omitempty" jsonschema:"large responses per path in the throughput observation, 10 to 1000, default 40"`
	MaxErrorRatio     float64  `yaml:"maxErrorRatio,omitempty" json:"maxErrorRatio,omitempty" jsonschema:"failed requests over all requests that a traffic check allows, 0 to 1, default 0"`
	LatencyRatioP50   float64  `yaml:"latencyRatioP50,omitempty" json:"latencyRatioP50,omitempty" jsonschema:"allowed p50 through the VIP over p50 through the NodePort, above 1, default 1.5"`
	LatencyRatioP90   float64  `yaml:"latencyRatioP90,omitempty" json:"latencyRatioP90,omitempty" jsonschema:"allowed p90 through the VIP over p90 through the NodePort, above 1, default 3"`
	TransferRatioP50  float64  `yaml:"transferRatioP50,omitempty" json:"transferRatioP50,omitempty" jsonschema:"allowed p50 of the time of a large response through the VIP over that through the NodePort, above 1, default 1.5"`
	TransferRatioP90  float64  `yaml:"transferRatioP90,omitempty" json:"transferRatioP90,omitempty" jsonschema:"allowed p90 of the time of a large response through the VIP over that through the NodePort, above 1, default 3"`
	MaxLateRatio      float64  `yaml:"maxLateRatio,omitempty" json:"maxLateRatio,omitempty" jsonschema:"share of requests that the client may send late before its latency figures are marked suspect, above 0 to 1, default 0.05; above 0.5 the check is broken"`
	BackendSkewAlpha  float64  `yaml:"backendSkewAlpha,omitempty" json:"backendSkewAlpha,omitempty" jsonschema:"significance level of the chi-square test for an uneven spread over the backends, above 0 and below 1, default 1e-6"`
}

// Mutation breaks the healthy cluster in one named way, expects checks to catch
// it, and is undone.
type Mutation struct {
	Name   string        `yaml:"name" json:"name" jsonschema:"a registered mutation, for example no-l2-advertisement"`
	Expect []Expectation `yaml:"expect" json:"expect" jsonschema:"who must catch it and with which code"`
}

// Expectation names the check that must catch a known-bad world, the code it must
// give, and the checks that fail as a consequence.
type Expectation struct {
	Check        string   `yaml:"check" json:"check" jsonschema:"the check that must fail"`
	Code         string   `yaml:"code" json:"code" jsonschema:"the verdict's machine-readable code, for example responders=0"`
	Consequences []string `yaml:"consequences,omitempty" json:"consequences,omitempty" jsonschema:"checks that fail because of the same fault; their failure is not a red cell"`
}

// Duration is a time.Duration written as Go writes it: 40ms, 2s, 1m30s.
type Duration time.Duration

// D returns d as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }
