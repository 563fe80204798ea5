// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/cluster/forwarder"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// kubernetes sets up the nodes' network and runs kubeadm on them.
func (c *Cluster) kubernetes(ctx context.Context) error {
	begin := time.Now()
	members, apiPort, err := c.members(ctx)
	if err != nil {
		return err
	}
	// Without a network of ours the nodes become Ready when a component brings one.
	static := c.o.Scenario.Spec.Cluster.CNI == scenario.CNIStatic
	if static {
		if err := c.connectPods(ctx, members); err != nil {
			return err
		}
		c.took("node networks", begin)
	}

	begin = time.Now()
	c.o.Progress("starting the control plane")
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer c.took("kubeadm init", time.Now())
		return initControlPlane(gctx, &c.o, c.nodes[0])
	})
	g.Go(func() error {
		discovery, err := c.reachAPI(gctx, apiPort)
		if err != nil {
			return err
		}
		client, err := kubernetes.NewForConfig(c.rest)
		if err != nil {
			return err
		}
		if err := waitJoinable(gctx, client); err != nil {
			return err
		}
		c.took("control plane takes workers", begin)
		c.o.Progress("joining workers")
		for _, n := range c.nodes[1:] {
			g.Go(func() error {
				defer c.took("kubeadm join "+n.name, time.Now())
				return join(gctx, &c.o, n, discovery)
			})
		}
		if !static {
			defer c.took("nodes registered", begin)
			return waitRegistered(gctx, client, members, c.o.Progress)
		}
		defer c.took("nodes ready", begin)
		return waitReady(gctx, client, members, c.o.Progress)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if c.o.Scenario.Spec.DataPlane.Proxy != scenario.ProxyCilium {
		if err := c.WaitServices(ctx); err != nil {
			return err
		}
	}
	if !c.o.Scenario.Spec.Cluster.ControlPlaneAnnounces {
		return nil
	}
	client, err := kubernetes.NewForConfig(c.rest)
	if err != nil {
		return err
	}
	return allowAnnouncing(ctx, client, c.nodes[0].name)
}

// members reads the nodes' addresses, gives out pod subnets and finds the port the
// API server will be published on.
func (c *Cluster) members(ctx context.Context) ([]member, string, error) {
	parts, err := splitPods(podSubnet(c.o.Scenario), len(c.nodes))
	if err != nil {
		return nil, "", err
	}
	var members []member
	var port string
	for i, n := range c.nodes {
		d, err := inspect(ctx, c.o.Docker, n.name)
		if err != nil {
			return nil, "", err
		}
		if !d.running || !d.address.IsValid() {
			return nil, "", fmt.Errorf("node %s does not run", n.name)
		}
		if d.apiPort != "" {
			port = d.apiPort
		}
		members = append(members, member{Name: n.name, Address: d.address.Addr(), PodCIDR: parts[i]})
	}
	if port == "" {
		return nil, "", errors.New("docker published no port for the API server")
	}
	return members, port, nil
}

// connectPods sets up the static CNI on every node.
func (c *Cluster) connectPods(ctx context.Context, members []member) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, n := range c.nodes {
		g.Go(func() error {
			conf, err := conflist(members[i].PodCIDR, podMTU)
			if err != nil {
				return err
			}
			script := networkScript(members[i], members)
			if err := n.Run(ctx, cluster.Command{Path: "sh", Args: []string{"-c", script}, Stdin: bytes.NewReader(conf)}); err != nil {
				return fmt.Errorf("set up the pod network: %w", err)
			}
			return nil
		})
	}
	return g.Wait()
}

// reachAPI makes the way to the API server and returns the workers' discovery file.
func (c *Cluster) reachAPI(ctx context.Context, port string) ([]byte, error) {
	address := net.JoinHostPort("127.0.0.1", port)
	netns, err := c.o.Docker.NetNS(ctx)
	if err != nil {
		return nil, err
	}
	if netns != "" {
		if c.forward, err = forwarder.Start(c.o.Ledger, c.o.Log, forwarder.InNamespace(netns, c.o.ProbeBinary, address)); err != nil {
			return nil, err
		}
		address = c.forward.Address()
	}
	admin, err := adminConfig(ctx, c.nodes[0])
	if err != nil {
		return nil, err
	}
	if c.rest, err = saveKubeconfig(redirect(admin, address), c.o.path("kubeconfig")); err != nil {
		return nil, err
	}
	return discovery(admin, c.nodes[0].name)
}
