// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package fault breaks a healthy cluster in named ways, sees to it that it is
// broken, and undoes it.
package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// Target is what a fault may act on.
type Target struct {
	Dynamic dynamic.Interface
	// MetalLB is the namespace of MetalLB's configuration.
	MetalLB string
	Nodes   []cluster.Node
	// Announcer names the node that answers for the Service whose backends are kept off it.
	Announcer func(ctx context.Context) (string, error)
	// Services lists the Services under test as they are.
	Services func(ctx context.Context) ([]journal.Service, error)
	// Six names the IPv6 VIP.
	Six func(ctx context.Context) (string, error)
	// Programs is how long kube-proxy may wait before it writes a change.
	Programs time.Duration
	// Spare names an address of the pool that no Service has.
	Spare func(ctx context.Context) (string, error)
}

// What a fault calls a Service by that its role does not tell.
const (
	policyCluster = "Cluster"
	policyLocal   = "Local"
	remote        = "remote"
)

// segmentInterface is the nodes' interface on the segment.
const segmentInterface = "eth0"

// service finds a Service under test by its role, or by one of the above.
func (t Target) service(ctx context.Context, purpose string) (journal.Service, error) {
	all, err := t.Services(ctx)
	if err != nil {
		return journal.Service{}, err
	}
	for _, s := range all {
		switch {
		case s.VIP == "":
		case s.Role != "" && s.Role == purpose, s.BackendsOffAnnouncer && purpose == remote:
			return s, nil
		case s.Role == "" && !s.BackendsOffAnnouncer && s.ExternalTrafficPolicy == purpose:
			return s, nil
		}
	}
	return journal.Service{}, fmt.Errorf("no Service for the purpose %q has a load-balancer address", purpose)
}

// controlPlane is the node that MetalLB does not elect: its label excludes it.
func (t Target) controlPlane() (cluster.Node, error) {
	i := slices.IndexFunc(t.Nodes, cluster.Node.ControlPlane)
	if i < 0 {
		return nil, errors.New("no node is a control plane")
	}
	return t.Nodes[i], nil
}

// Fault is one way to break a cluster. Each method returns what it did or saw, for
// the journal.
type Fault interface {
	Apply(ctx context.Context) (string, error)
	// Verify sees to it that the fault is there (applied) or gone.
	Verify(ctx context.Context, applied bool) (string, error)
	// Undo restores what Apply changed. It may be called when Apply failed half-way.
	Undo(ctx context.Context) (string, error)
}

// kind is an entry of the registry.
type kind struct {
	name string
	why  string
	make func(Target) Fault
	// silent faults change nothing of who answers ARP: nobody need wait for that.
	silent bool
	// takeover says that its end makes every VIP change hands, from nobody to a node.
	takeover bool
}

func kinds() []kind {
	return []kind{
		{
			name: "no-l2-advertisement",
			why: "every L2Advertisement is deleted: the VIP stays assigned and nobody answers for it. A Kubespray inventory without " +
				"metallb_config.layer2 produces the same",
			make: func(t Target) Fault { return &noAdvertisement{t: t} }, takeover: true,
		},
		{
			name: "ip-forward-off",
			why: "net.ipv4.ip_forward is 0 on the node that announces a VIP with its backends elsewhere: it answers ARP and drops every packet. " +
				"A kind node without pods was measured to start that way; on real nodes a sysctl file does it",
			make: newForwardOff, silent: true,
		},
		{
			name: "strict-arp-reverted",
			why: "arp_ignore and arp_announce go back to 0 on every node while kube-proxy's configuration still says strictARP: true. kube-proxy " +
				"writes them when it starts and never again, so a later `sysctl --system` undoes them",
			make: newStrictARPReverted,
		},
		{
			name: "two-announcers",
			why: "Cilium's L2 announcements answer for the addresses that MetalLB announces: a CiliumL2AnnouncementPolicy matches every " +
				"load-balancer address, whoever assigned it",
			make: func(t Target) Fault { return &secondAnnouncer{t: t} },
		},
		{
			name: "stray-pool-address",
			why: "an address of the pool that no Service has is on a machine's interface, as an administrator or a released Service leaves it " +
				"(metallb #2404): the Service that will get it has two owners",
			make: newStrayPoolAddress, silent: true,
		},
		{
			name: "stray-idle-vip",
			why:  "a node answers for a Service of policy Local of which it has no endpoint, and would drop what it attracts (cilium #27800)",
			make: newStrayIdleVIP, silent: true,
		},
		{
			name: "session-affinity-off",
			why:  "the Service's session affinity is gone: every connection of one client may go to another backend, and all are answered",
			make: func(t Target) Fault { return &affinityOff{t: t} }, silent: true,
		},
		{
			name: "udp-dropped",
			why:  "every node drops datagrams to a VIP, as a firewall that knows of TCP only does",
			make: newUDPDropped, silent: true,
		},
		{
			name: "large-datagrams-dropped",
			why: "every node drops datagrams of more than 1400 bytes to a VIP, as a path does whose MTU does not count a tunnel's header " +
				"(cilium #26723, #32601)",
			make: newLargeDatagramsDropped, silent: true,
		},
		{
			name: "near-backends-cut",
			why:  "the announcer drops what it would deliver to its own backends, and forwards the rest (cilium #31689)",
			make: newNearBackendsCut, silent: true,
		},
		{
			name: "pods-cut-from-vip",
			why:  "pods cannot reach the VIP of policy Local, while clients outside can: kube-proxy in nftables mode did that (kubernetes #131765)",
			make: newPodsCutFromVIP, silent: true,
		},
		{
			name: "vip-throttled",
			why:  "the announcer lets 20 MB/s pass to a VIP and drops the rest: small requests are as fast as ever",
			make: newVIPThrottled, silent: true,
		},
		{
			name: "vip-on-another-host",
			why: "a VIP is on the interface of a second machine, as after a keepalived that was not removed or an address that was set by hand: its " +
				"kernel answers beside the speaker (metallb #2404)",
			make: newVIPOnAnotherHost,
		},
		{
			name: "ipv6-vip-on-another-host",
			why: "the IPv6 VIP is on the interface of a second machine: its kernel answers neighbour solicitations beside the speaker. It was added " +
				"without duplicate address detection, which would have found the speaker",
			make: newIPv6VIPOnAnotherHost, silent: true,
		},
		{
			name: "ipv6-forwarding-off",
			why:  "net.ipv6.conf.all.forwarding is 0 on every node: the IPv6 VIP is announced and what it attracts is dropped, while IPv4 works as ever",
			make: newIPv6ForwardingOff, silent: true,
		},
		{
			name: "proxy-arp",
			why: "a node answers for whatever it would forward to (proxy_arp, and proxy_arp_pvlan for what lies on the same segment), as CNI plugins and " +
				"routers set it",
			make: newProxyARP,
		},
		{
			name: "ipvs-left-over",
			why: "kube-ipvs0 with a VIP is on every node although kube-proxy runs in another mode: a switch from ipvs without a reboot leaves it, and the " +
				"kernels answer (kubernetes #109286, #102314)",
			make: func(t Target) Fault { return &leftOver{t: t} },
		},
		{
			name: "memberlist-blocked",
			why: "port 7946 is closed between the nodes, as by a firewall that knows of Kubernetes' ports only: each speaker believes that it is alone, and " +
				"all announce (metallb #589, #740)",
			make: newMemberlistBlocked,
		},
		{
			name: "local-endpoints-gone",
			why:  "the Service of policy Local loses all its endpoints, as by a label that was renamed: nobody may announce it, and its address falls silent",
			make: func(t Target) Fault { return &noEndpoints{t: t} },
		},
	}
}

// Names lists the registered faults.
func Names() []string {
	var out []string
	for _, k := range kinds() {
		out = append(out, k.name)
	}
	return out
}

// Why says what a fault does and which real failure it stands for.
func Why(name string) string {
	if i := slices.IndexFunc(kinds(), func(k kind) bool { return k.name == name }); i >= 0 {
		return kinds()[i].why
	}
	return ""
}

// ShowsOnSegment says whether a fault changes who answers ARP.
func ShowsOnSegment(name string) bool {
	i := slices.IndexFunc(kinds(), func(k kind) bool { return k.name == name })
	return i >= 0 && !kinds()[i].silent
}

// TakesOver says whether the end of a fault makes every VIP change hands.
func TakesOver(name string) bool {
	i := slices.IndexFunc(kinds(), func(k kind) bool { return k.name == name })
	return i >= 0 && kinds()[i].takeover
}

// New prepares a fault.
func New(name string, t Target) (Fault, error) {
	for _, k := range kinds() {
		if k.name == name {
			return k.make(t), nil
		}
	}
	return nil, fmt.Errorf("prepare fault: no fault %q; there are %s", name, strings.Join(Names(), ", "))
}
