// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	kindcluster "sigs.k8s.io/kind/pkg/cluster"

	"github.com/lbmatrix/lbmatrix/harness/ledger"
)

// How long the steps may take, and how often is looked. They are bounds against a
// hang, far above what a slow machine needs.
const (
	pollFast   = 250 * time.Millisecond
	peerWait   = 60 * time.Second
	apiWait    = 4 * time.Minute
	readyWait  = 3 * time.Minute
	settleWait = time.Minute
	podMTU     = 1500
)

// Create brings the cluster up: every node Ready, client and observer running.
//
// Once anything was made the returned Cluster is not nil, also beside an error:
// Collect and Delete work on what there is. When ctx ends Create returns at once;
// the kind library, which has no contexts, may still be busy, so the process should
// end and its ledger be cleaned.
func Create(ctx context.Context, o Options) (*Cluster, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("create cluster: %w", err)
	}
	c := newCluster(o)
	begin := time.Now()
	err := c.bringUp(ctx)
	c.took("total", begin)
	if err != nil {
		c.settle(ctx)
		return c, fmt.Errorf("create cluster %s: %w", o.Name, err)
	}
	return c, nil
}

// settle waits, within bounds, until the kind library has stopped making containers:
// whoever deletes after a failure would otherwise miss the last of them. It does not
// wait when ctx has ended: then the process ends, and the ledger's clean looks twice.
func (c *Cluster) settle(ctx context.Context) {
	if c.provisioned == nil {
		return
	}
	select {
	case <-c.provisioned:
	case <-time.After(settleWait):
	case <-ctx.Done():
	}
}

func (c *Cluster) bringUp(ctx context.Context) error {
	o := &c.o
	begin := time.Now()
	info, err := o.Docker.Info(ctx)
	if err != nil {
		return err
	}
	facts := hostFacts{CgroupV1: info.CgroupVersion == "1", NoSysResource: missesSysResource()}
	config, err := renderConfig(o.Name, o.Scenario, o.Images.ControlPlane, o.Images.Worker, facts)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(o.path("kind-config.yaml"), config, 0o644); err != nil {
		return err
	}
	if err := c.record(); err != nil {
		return err
	}
	o.Progress("creating network " + o.Name)
	if err := createNetwork(ctx, o.Docker, o.Name, o.labels(), o.Scenario); err != nil {
		return err
	}
	c.took("network", begin)

	g, gctx := errgroup.WithContext(ctx)
	for _, name := range []string{c.client.name, c.observer.name} {
		g.Go(func() error {
			defer c.took("start "+name, time.Now())
			return startPeer(gctx, o, name)
		})
	}
	g.Go(func() error {
		if err := c.provision(gctx, config); err != nil {
			return err
		}
		return c.kubernetes(gctx)
	})
	return g.Wait()
}

// record enters every name that is about to exist into the ledger, the network
// first: it can only go when the containers have.
func (c *Cluster) record() error {
	for _, e := range c.entries() {
		if err := c.o.Ledger.Add(e); err != nil {
			return err
		}
	}
	return nil
}

// provision lets kind create the nodes and write their kubeadm configuration.
func (c *Cluster) provision(ctx context.Context, config []byte) error {
	defer c.took("provision nodes", time.Now())
	c.o.Progress(fmt.Sprintf("provisioning %d nodes", len(c.nodes)))
	for name, value := range map[string]string{"DOCKER_HOST": c.o.Docker.Host, "KIND_EXPERIMENTAL_DOCKER_NETWORK": c.o.Name} {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("provision nodes: %w", err)
		}
	}
	if err := os.Unsetenv("DOCKER_CONTEXT"); err != nil {
		return fmt.Errorf("provision nodes: %w", err)
	}
	done := make(chan error, 1)
	c.provisioned = make(chan struct{})
	go func() {
		defer close(c.provisioned)
		provider := kindcluster.NewProvider(kindcluster.ProviderWithDocker(), kindcluster.ProviderWithLogger(&logger{out: c.o.Log}))
		done <- provider.Create(c.o.Name,
			kindcluster.CreateWithRawConfig(config),
			kindcluster.CreateWithRetain(true), // evidence; Delete and the ledger clean up
			kindcluster.CreateWithStopBeforeSettingUpKubernetes(true))
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("provision nodes: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("provision nodes: %w", context.Cause(ctx))
	}
}

// missesSysResource says whether CAP_SYS_RESOURCE is out of this process's reach,
// and so of a daemon's on this machine.
func missesSysResource() bool {
	have, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
	return err == nil && have == 0
}

func (c *Cluster) entries() []ledger.Entry {
	host := c.o.Docker.Host
	out := []ledger.Entry{{Kind: ledger.Network, Name: c.o.Name, Host: host}}
	for _, name := range c.containers() {
		out = append(out, ledger.Entry{Kind: ledger.Container, Name: name, Host: host})
	}
	return out
}
