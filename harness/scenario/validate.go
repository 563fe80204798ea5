// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// validate finds what no field shows alone. The defaults must be filled in.
func (l *loader) validate(s *Scenario) {
	l.subnets(s.Spec.Cluster)
	l.room(s.Spec)
	l.dataPlane(s.Spec)
	l.loadBalancer(s.Spec.LoadBalancer)
	l.backends(s.Spec)
	l.expectations(s.Spec.Expect, "spec")
	if at := l.at["spec.mutations"]; unhealthy(s.Spec) && len(s.Spec.Mutations) > 0 && at != nil {
		l.report(at, "spec.mutations: a known-bad scenario (spec.expect) has no healthy baseline to break", "make two scenarios of it")
	}
	components := map[string]*yaml.Node{}
	for i, c := range s.Spec.Components {
		l.unique(components, c.Name, fmt.Sprintf("spec.components[%d].name", i), "component")
	}
	mutations := map[string]*yaml.Node{}
	for i, m := range s.Spec.Mutations {
		name := fmt.Sprintf("spec.mutations[%d].name", i)
		l.unique(mutations, m.Name, name, "mutation")
		if at := l.at[name]; at != nil && strings.HasPrefix(m.Name, ipv6Mutations) && !s.Spec.Cluster.DualStack() {
			l.report(at, name+": the cluster has no IPv6 to break", "write ipFamily: dual under spec.cluster, or remove it")
		}
		l.expectations(m.Expect, fmt.Sprintf("spec.mutations[%d]", i))
	}
}

// ipv6Mutations begins the names of mutations that break IPv6 alone.
const ipv6Mutations = "ipv6-"

// unhealthy says whether mutations would break what is broken already: a segment without
// one responder for each VIP, or a check that is red on the baseline. Beside another known
// failure they prove what they always do.
func unhealthy(s Spec) bool {
	return slices.ContainsFunc(s.Expect, func(known Expectation) bool {
		return known.Check == "single-responder" || slices.ContainsFunc(s.Mutations, func(m Mutation) bool {
			return slices.ContainsFunc(m.Expect, func(e Expectation) bool { return e.Check == known.Check })
		})
	})
}

// subnets refuses pods and Services in one another's addresses.
func (l *loader) subnets(c Cluster) {
	pods, err := netip.ParsePrefix(c.PodSubnet)
	services, err2 := netip.ParsePrefix(c.ServiceSubnet)
	if err != nil || err2 != nil || !pods.Overlaps(services) {
		return
	}
	field, other := "spec.cluster.serviceSubnet", "podSubnet "+c.PodSubnet
	if l.at[field] == nil {
		field, other = "spec.cluster.podSubnet", "serviceSubnet "+c.ServiceSubnet
		if l.at[field] == nil {
			return
		}
	}
	l.report(l.at[field], field+" overlaps "+other, "choose networks that share no address")
}

// loadBalancer refuses more Services than the pool has addresses for: the last ones would
// stay without, and the checks of those under test would say so.
func (l *loader) loadBalancer(b LoadBalancer) {
	if need := leastPool + b.MoreServices; b.PoolSize < need {
		if at := l.at["spec.loadBalancer.moreServices"]; at != nil {
			l.report(at, fmt.Sprintf("spec.loadBalancer.moreServices: %d Services beside those under test need %d addresses, and the pool has %d", b.MoreServices, need, b.PoolSize),
				fmt.Sprintf("write poolSize: %d", need))
		}
	}
}

// backends refuses fewer pods than workers: whichever of them announces a VIP, one of its
// backends must be there, and others elsewhere.
func (l *loader) backends(s Spec) {
	if at := l.at["spec.backend.replicas"]; at != nil && s.Backend.Replicas < s.Cluster.Workers {
		l.report(at, fmt.Sprintf("spec.backend.replicas: %d backends for %d workers, and each worker needs one", s.Backend.Replicas, s.Cluster.Workers),
			fmt.Sprintf("write %d, or nothing", s.Cluster.Workers))
	}
}

// serviceMargin is how many addresses of the Service subnet are not more Services': those
// of the Services under test, of the cluster's own and of its components.
const serviceMargin = 32

// smallestPods and smallestServices are the smallest subnets, in bits: what is smaller has
// been refused.
const (
	smallestPods     = 20
	smallestServices = 24
)

// room refuses networks that are too small for the nodes and Services: each node gets a
// /24 of the pod subnet, as the controller manager and the netns provider cut it.
func (l *loader) room(s Spec) {
	pods, err := netip.ParsePrefix(s.Cluster.PodSubnet)
	if at := l.at["spec.cluster.podSubnet"]; err == nil && at != nil && pods.Addr().Is4() && pods.Bits() <= smallestPods && s.Cluster.Workers+1 > 1<<(24-pods.Bits()) {
		l.report(at, fmt.Sprintf("spec.cluster.podSubnet: %d nodes do not fit, each takes a /24", s.Cluster.Workers+1), "choose a larger network, such as a /16")
	}
	services, err := netip.ParsePrefix(s.Cluster.ServiceSubnet)
	if at := l.at["spec.cluster.serviceSubnet"]; err == nil && at != nil && services.Addr().Is4() && services.Bits() <= smallestServices && s.LoadBalancer.MoreServices+serviceMargin > 1<<(32-services.Bits()) {
		l.report(at, fmt.Sprintf("spec.cluster.serviceSubnet: %d more Services do not fit", s.LoadBalancer.MoreServices), "choose a larger network, such as a /16")
	}
}

// dataPlane refuses what no cluster can be.
func (l *loader) dataPlane(s Spec) {
	known := rules(Options{})
	if problem, _ := known["spec.dataPlane.proxy"].text(string(s.DataPlane.Proxy)); problem != "" {
		return // reported where it was decoded; one mistake is enough
	}
	refuse := func(field, problem, suggestion string) {
		if at := l.at[field]; at != nil {
			l.report(at, field+": "+problem, suggestion)
		}
	}
	cilium := slices.ContainsFunc(s.Components, func(c Component) bool { return c.Name == "cilium" })
	if s.DataPlane.Proxy == ProxyCilium && s.Cluster.CNI != CNICilium {
		refuse("spec.cluster.cni", "proxy cilium needs Cilium as CNI", "write cni: cilium")
	}
	if s.Cluster.CNI == CNICilium && !cilium {
		refuse("spec.cluster.cni", "there is no component cilium", "add one to spec.components")
	}
	if s.Cluster.CNI == CNICilium && s.Cluster.Provider == ProviderNetns {
		refuse("spec.cluster.provider", "Cilium needs nodes with a kubelet", "write provider: kind")
	}
	if s.DataPlane.Forwarding != ForwardingSNAT && s.DataPlane.Proxy != ProxyCilium {
		refuse("spec.dataPlane.forwarding", fmt.Sprintf("kube-proxy has no %s", s.DataPlane.Forwarding), "write snat, or proxy: cilium")
	}
	if s.DataPlane.StrictARP && s.DataPlane.Proxy != ProxyIPVS {
		refuse("spec.dataPlane.strictARP", "only kube-proxy in ipvs mode reads it", "remove it")
	}
	if s.Cluster.DualStack() && s.Cluster.Provider != ProviderNetns {
		refuse("spec.cluster.ipFamily", "clusters of containers are made for IPv4", "write provider: netns")
	}
	if s.DataPlane.MinSyncPeriod != 0 && s.DataPlane.Proxy == ProxyCilium {
		refuse("spec.dataPlane.minSyncPeriod", "only kube-proxy reads it", "remove it")
	}
}

// expectations refuses a check that is both what must catch a known-bad and a mere
// consequence of it, or that is named twice: its cell could not be told.
func (l *loader) expectations(expect []Expectation, path string) {
	checks := map[string]*yaml.Node{}
	for i, e := range expect {
		l.unique(checks, e.Check, fmt.Sprintf("%s.expect[%d].check", path, i), "check")
	}
	for i, e := range expect {
		consequences := map[string]*yaml.Node{}
		for j, check := range e.Consequences {
			at := fmt.Sprintf("%s.expect[%d].consequences[%d]", path, i, j)
			if catcher := checks[check]; check != "" && catcher != nil && l.at[at] != nil {
				l.report(l.at[at], fmt.Sprintf("%s: check %q must catch this already", at, clip(check)),
					fmt.Sprintf("remove it here or at line %d", catcher.Line))
				continue
			}
			l.unique(consequences, check, at, "consequence")
		}
	}
}

// unique reports a name that was there before.
func (l *loader) unique(first map[string]*yaml.Node, name, path, what string) {
	at := l.at[path]
	if name == "" || at == nil {
		return // reported where it was decoded
	}
	if before := first[name]; before != nil {
		l.report(at, fmt.Sprintf("%s: %s %q is there twice", path, what, clip(name)),
			fmt.Sprintf("it was written at line %d first", before.Line))
		return
	}
	first[name] = at
}
