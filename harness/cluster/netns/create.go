// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lbmatrix/lbmatrix/harness/pace"
)

// Create brings the cluster up: its API server takes objects and its nodes are registered.
// kube-proxy is installed, and programs of pods start, when the API server has made its roles,
// which WaitReady waits for; that goes on when ctx ends after Create, until Delete or Keep.
//
// Once anything was made the returned Cluster is not nil, also beside an error: Collect
// and Delete work on what there is.
func Create(ctx context.Context, o Options) (*Cluster, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("create cluster: %w", err)
	}
	l, err := newLayout(o.Scenario)
	if err != nil {
		return nil, fmt.Errorf("create cluster %s: %w", o.Name, err)
	}
	c := &Cluster{o: o, layout: l}
	begin := time.Now()
	err = c.bringUp(ctx)
	c.took("total", begin)
	if err != nil {
		return c, fmt.Errorf("create cluster %s: %w", o.Name, err)
	}
	return c, nil
}

func (c *Cluster) bringUp(ctx context.Context) error {
	begin := time.Now()
	if err := os.MkdirAll(c.o.Dir, 0o755); err != nil {
		return err
	}
	c.o.Progress("making machines and wiring them")
	if err := c.makeMachines(ctx); err != nil {
		return err
	}
	c.took(stepMachines, begin)

	begin = time.Now()
	c.o.Progress("starting the control plane")
	cp := c.layout.address(offsetNodes)
	k, err := newKeys(c.o.path("keys"), cp, c.layout.service(1), netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		return err
	}
	if err := c.startControlPlane(k); err != nil {
		return err
	}
	if err := c.reachAPI(ctx, k); err != nil {
		return err
	}
	c.took(stepAnswers, begin, stepMachines)
	c.finish(ctx, begin)

	begin = time.Now()
	for _, step := range []func(context.Context) error{
		c.registerNodes, func(ctx context.Context) error { return c.standIn(ctx, k) },
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	c.took(stepNodes, begin, stepAnswers)
	return nil
}

// finish begins what needs the API server's roles, beside what does not. began is when the
// API server was started.
func (c *Cluster) finish(ctx context.Context, began time.Time) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	f := &finishing{stop: stop, roles: make(chan struct{}), done: make(chan struct{})}
	c.finishing = f
	go func() {
		defer close(f.done)
		if f.err = c.awaitAPI(ctx, "the API server to be ready", "/readyz"); f.err != nil {
			return
		}
		c.took(stepAPI, began, stepMachines)
		close(f.roles)
		f.err = c.installProxy(ctx)
	}()
}

// finishing is what Create leaves under way.
type finishing struct {
	stop  func()
	roles chan struct{} // closed when the API server's own roles are there
	done  chan struct{} // closed when kube-proxy was installed, or err says why not
	err   error
}

// wait waits for the end of it.
func (f *finishing) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// settle waits for the end of it, for as long as it may take where all is well, and ends it
// otherwise. Nil is fine.
func (f *finishing) settle(ctx context.Context) {
	if f == nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, pace.Scale(ctx, settleWait))
	defer cancel()
	_ = f.wait(limited) // whoever needs what it makes has been told
	f.end()
}

// settleWait is what the API server's roles may take: some two seconds.
const settleWait = 10 * time.Second

// end ends it early. Nil is fine.
func (f *finishing) end() {
	if f != nil {
		f.stop()
		<-f.done
	}
}

// makeMachines makes the segment and everybody on it.
func (c *Cluster) makeMachines(ctx context.Context) error {
	start := func(name string) (*machine, error) {
		m, err := startMachine(c.o.Ledger, c.o.Programs[programProbe], name)
		if err == nil {
			c.own(m)
		}
		return m, err
	}
	sw, err := start(c.o.Name + "-switch")
	if err != nil {
		return err
	}
	names := nodeNames(c.o.Name, c.o.Scenario.Spec.Cluster.Workers)
	var members []*member
	for i, name := range append(names, c.o.Name+"-client", c.o.Name+"-observer") {
		m, err := start(name)
		if err != nil {
			return err
		}
		switch {
		case i < len(names):
			members = append(members, &member{machine: m, offset: offsetNodes + i, node: i})
		case i == len(names):
			members = append(members, &member{machine: m, offset: offsetClient, node: -1})
		default:
			members = append(members, &member{machine: m, offset: offsetObserver, node: -1})
		}
	}
	c.nodes, c.client, c.observer = members[:len(names)], members[len(names)], members[len(names)+1]
	if err := wire(ctx, sw, c.layout, members); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return sw.furnish(gctx, "") })
	for _, m := range members {
		g.Go(func() error { return m.furnish(gctx, c.layout.routes(m, len(names)), c.layout.prefixes(m.offset)...) })
	}
	return g.Wait()
}
