// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/cluster/forwarder"
)

// defaultPoolSize is how many VIPs a scenario gets that does not say.
const defaultPoolSize = 10

// Cluster is a running kind cluster with its client and observer.
type Cluster struct {
	o        Options
	nodes    []*node // control plane first
	client   *peer
	observer *peer
	rest     *rest.Config
	forward  *forwarder.Forwarder
	// provisioned is closed when the kind library has returned; nil before it was called.
	provisioned chan struct{}

	mu      sync.Mutex
	timings []cluster.Timing
}

var _ cluster.Cluster = (*Cluster)(nil)

func newCluster(o Options) *Cluster {
	c := &Cluster{
		o:        o,
		client:   &peer{host{docker: o.Docker, name: o.Name + "-client"}},
		observer: &peer{host{docker: o.Docker, name: o.Name + "-observer"}},
	}
	for i, name := range nodeNames(o.Name, o.Scenario.Spec.Cluster.Workers) {
		c.nodes = append(c.nodes, &node{host: host{docker: o.Docker, name: name, shell: true}, controlPlane: i == 0})
	}
	return c
}

// Name implements cluster.Cluster.
func (c *Cluster) Name() string { return c.o.Name }

// RESTConfig implements cluster.Cluster. Nil when Create failed before there was an
// API server.
func (c *Cluster) RESTConfig() *rest.Config {
	if c.rest == nil {
		return nil
	}
	return rest.CopyConfig(c.rest)
}

// Kubeconfig is the path of the file that people use, outside docker's namespace too.
func (c *Cluster) Kubeconfig() string { return c.o.path("kubeconfig") }

// Nodes implements cluster.Cluster; the control plane comes first.
func (c *Cluster) Nodes(context.Context) ([]cluster.Node, error) {
	out := make([]cluster.Node, len(c.nodes))
	for i, n := range c.nodes {
		out[i] = n
	}
	return out, nil
}

// ControlPlaneAddress is where the API server is on the segment: the one address of it
// that does not need the Services it is to provide.
func (c *Cluster) ControlPlaneAddress(ctx context.Context) (netip.Addr, error) {
	d, err := inspect(ctx, c.o.Docker, c.nodes[0].name)
	if err != nil {
		return netip.Addr{}, err
	}
	return d.address.Addr(), nil
}

// Client implements cluster.Cluster.
func (c *Cluster) Client(context.Context) (cluster.Host, error) { return c.client, nil }

// Observer implements cluster.Cluster.
func (c *Cluster) Observer(context.Context) (cluster.Host, error) { return c.observer, nil }

// Probe is where the images of client and observer hold lbprobe.
func (c *Cluster) Probe() string { return "/lbprobe" }

// NodeProbe is where the node images hold lbprobe.
func (c *Cluster) NodeProbe() string { return "/usr/local/bin/lbprobe" }

// WaitReady has nothing to wait for: Create has.
func (c *Cluster) WaitReady(context.Context) error { return nil }

// Keep does nothing: containers outlive this process by themselves.
func (c *Cluster) Keep(context.Context) error { return nil }

// Reach says how a person uses a cluster that was kept: the forwarder ends with this
// process.
func (c *Cluster) Reach() string {
	return fmt.Sprintf("DOCKER_HOST=%s docker exec -it %s kubectl --kubeconfig /etc/kubernetes/admin.conf get svc -A", c.o.Docker.Host, c.nodes[0].name)
}

// Segment implements cluster.Cluster. The range does not depend on who asks when: docker
// gives addresses out from the other end of the subnet.
func (c *Cluster) Segment(ctx context.Context) (cluster.Segment, error) {
	n, err := inspectNetwork(ctx, c.o.Docker, c.o.Name)
	if err != nil {
		return cluster.Segment{}, fmt.Errorf("read segment of %s: %w", c.o.Name, err)
	}
	if len(n.subnets) != 1 {
		return cluster.Segment{}, fmt.Errorf("read segment of %s: want one IPv4 subnet, got %v", c.o.Name, n.subnets)
	}
	size := c.o.Scenario.Spec.LoadBalancer.PoolSize
	if size == 0 {
		size = defaultPoolSize
	}
	slices.SortFunc(n.inUse, func(a, b netip.Addr) int { return a.Compare(b) })
	return carve(n.subnets[0], n.gateway, n.inUse, size)
}

// Timings says how long the steps of Create took, in the order they ended.
func (c *Cluster) Timings() []cluster.Timing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.timings)
}

func (c *Cluster) took(name string, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timings = append(c.timings, cluster.Timing{Name: name, Began: since, Elapsed: time.Since(since)})
}

// containers are the names of everything that runs, nodes first.
func (c *Cluster) containers() []string {
	var out []string
	for _, n := range c.nodes {
		out = append(out, n.name)
	}
	return append(out, c.client.name, c.observer.name)
}

// Delete implements cluster.Cluster. It is tolerant of what is gone already, and
// the ledger forgets only what docker confirms.
func (c *Cluster) Delete(ctx context.Context) error {
	var errs []error
	if err := c.forward.Stop(ctx); err != nil {
		errs = append(errs, err)
	}
	c.forward = nil
	remover := c.remover()
	entries := c.entries()
	slices.Reverse(entries) // containers before their network
	errs = append(errs, removeAll(ctx, remover, entries[:len(entries)-1], c.o.Ledger)...)
	errs = append(errs, removeAll(ctx, remover, entries[len(entries)-1:], c.o.Ledger)...)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("delete cluster %s: %w", c.o.Name, err)
	}
	return nil
}
