// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/lbmatrix/lbmatrix/harness/component"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/observe"
	"github.com/lbmatrix/lbmatrix/harness/pace"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// world is the cluster under test and the clients to reach it.
type world struct {
	cluster provided
	kube    kubernetes.Interface
	dynamic dynamic.Interface
}

// clusterName names everything of a run's cluster: short, for node names derive from
// it, and another for every scenario of the run: what one could not delete must not be
// in the way of the next.
func (w *worker) clusterName() string {
	sum := sha256.Sum256([]byte(w.Scenario.Metadata.Name))
	return fmt.Sprintf("lbm-%s-%x", w.RunID, sum[:2])
}

func (w *worker) create(ctx context.Context) error {
	c, err := w.newCluster(ctx)
	if c != nil {
		w.world = &world{cluster: c}
	}
	if err != nil {
		return err
	}
	if w.world.kube, err = kubernetes.NewForConfig(c.RESTConfig()); err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	if w.world.dynamic, err = dynamic.NewForConfig(c.RESTConfig()); err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	return nil
}

// install installs a component with Helm and waits for its pods. A component it knows
// nothing of is only installed: the data plane's own proof says whether it works.
func (w *worker) install(ctx context.Context, c scenario.Component) error {
	release := component.Release{Name: c.Name, Namespace: c.Namespace, ChartDir: w.Charts[c.Name], Values: c.Values}
	helm := component.NewHelm(w.world.cluster.RESTConfig(), w.Dir, w.log)
	switch c.Name {
	case metallb:
		return w.installMetalLB(ctx, c, helm, release)
	case cilium:
		cluster, ok := w.world.cluster.(networked)
		if !ok {
			return fmt.Errorf("install %s: a cluster of provider %s cannot be connected by a component", release.Name, w.Provider)
		}
		apiServer, err := cluster.ControlPlaneAddress(ctx)
		if err != nil {
			return err
		}
		release.Defaults = component.CiliumDefaults(c.Version, apiServer.String(), w.Scenario.Spec.Cluster.PodSubnet)
		if err := helm.Install(ctx, release); err != nil {
			return err
		}
		if err := component.WaitCilium(ctx, w.world.kube, c.Namespace, func(line string) { w.progress("%s", line) }); err != nil {
			return err
		}
		return cluster.WaitNetwork(ctx)
	}
	return helm.Install(ctx, release)
}

// The components the harness knows more of than their charts.
const (
	metallb = "metallb" // announces
	cilium  = "cilium"  // connects pods, and may be the data plane
)

// installMetalLB installs the announcer and says what it announces. What else takes its time
// is under way meanwhile: the backends, and what the cluster's bring-up has left.
func (w *worker) installMetalLB(ctx context.Context, c scenario.Component, helm *component.Helm, release component.Release) error {
	strict := component.Validates(c.Values)
	release.Defaults = component.MetalLBDefaults(c.Version, strict || w.Provider == scenario.ProviderKind)
	m, err := component.NewMetalLB(w.world.cluster.RESTConfig(), c.Name, c.Namespace, func(line string) { w.progress("%s", line) })
	if err != nil {
		return err
	}
	if err := m.ApplyKey(ctx); err != nil {
		return err
	}
	if err := w.startBackends(ctx); err != nil {
		return err
	}
	if err := w.observer(ctx, c); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := w.world.cluster.WaitReady(gctx); err != nil {
			return err
		}
		return w.timeLine()
	})
	// Not with gctx: Helm gives its goroutine up when its context ends, and nothing may go on
	// installing into a cluster that is being deleted.
	g.Go(func() error { return helm.Install(ctx, release) })
	if err := g.Wait(); err != nil {
		return err
	}
	// Not before Services work: the API server asks MetalLB's webhook by its Service about a pool,
	// and waits ten seconds for one whose address leads nowhere yet.
	steps := []func(context.Context, *component.MetalLB) error{w.announce, func(ctx context.Context, m *component.MetalLB) error { return m.WaitReady(ctx) }}
	if strict { // nothing is let in before the webhook is up
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// observer is what observes the cluster, but for who is who on the segment, which is known
// when the backends run.
func (w *worker) observer(ctx context.Context, announcer scenario.Component) error {
	segment, err := w.world.cluster.Segment(ctx)
	if err != nil {
		return err
	}
	w.env = &observe.Env{
		Scenario: w.Scenario, Journal: w.journal, Cluster: w.world.cluster, Kube: w.world.kube, Dynamic: w.world.dynamic,
		Namespace: component.EchoNamespace, Remote: component.EchoRemote, Roles: component.Roles(), More: component.EchoMore, Six: component.EchoSix, Dir: w.Dir, MetalLB: announcer.Namespace,
		Unassigned: segment.Unassigned, Probe: w.world.cluster.Probe(), NodeProbe: w.world.cluster.NodeProbe(),
		Progress: func(msg string) { w.progress("%s", msg) },
	}
	return nil
}

// announce says which addresses are MetalLB's to give, and that it announces them.
func (w *worker) announce(ctx context.Context, m *component.MetalLB) error {
	segment, err := w.world.cluster.Segment(ctx)
	if err != nil {
		return err
	}
	pool := []component.Range{{First: segment.First, Last: segment.Last}}
	if segment.First6.IsValid() {
		pool = append(pool, component.Range{First: segment.First6, Last: segment.Last6})
	}
	if err := m.ApplyPool(ctx, pool...); err != nil {
		return err
	}
	announcers, err := w.announcers(ctx)
	if err != nil {
		return err
	}
	return m.ApplyAdvertisement(ctx, announcers...)
}

// startBackends makes the backends, and does not wait for them. They are spread over the
// nodes that are ready, which all of them are when the cluster, or the CNI before this, was waited for.
func (w *worker) startBackends(ctx context.Context) error {
	w.echo = &component.Echo{
		Client: w.world.kube, Image: w.BackendImage, Replicas: int32(w.Scenario.Spec.Backend.Replicas),
		Six:      w.Scenario.Spec.Cluster.DualStack(),
		Progress: func(line string) { w.progress("%s", line) },
	}
	return w.echo.ApplyBackend(ctx)
}

// deploy makes the Services of the backends, when those and the speakers are ready for them.
func (w *worker) deploy(ctx context.Context) error {
	if w.env == nil {
		return errors.New("the scenario has no component metallb: nobody would announce the VIP")
	}
	g, gctx := errgroup.WithContext(ctx)
	// Not beside the bring-up: a process for each question takes the processors from what starts. One that cannot be asked may
	// know its nodes all the same: what comes of it the checks say.
	g.Go(func() error { return w.noted(gctx, w.env.WaitSpeakers(gctx)) })
	g.Go(func() error { return w.placeBackends(gctx) })
	if err := g.Wait(); err != nil {
		return err
	}
	if err := w.echo.ApplyServices(ctx); err != nil {
		return err
	}
	services, err := w.echo.WaitAssigned(ctx)
	// A Service without a VIP is for the checks to tell: vip-unassigned is a verdict.
	if err := w.noted(ctx, err); err != nil {
		return err
	}
	if err := w.firstAnswer(ctx, services[component.EchoCluster]); err != nil {
		return err
	}
	return w.deployMore(ctx)
}

// placeBackends waits for the backends, gives the Services whose endpoints are the harness'
// all of them, and writes down who is who on the segment.
func (w *worker) placeBackends(ctx context.Context) error {
	for _, step := range []func(context.Context) error{w.echo.WaitReady, w.echo.PinEverywhere} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	topology, err := observe.Topology(ctx, w.env)
	if err != nil {
		return err
	}
	w.env.Topology = topology
	return w.journal.Write(journal.KindTopology, topology)
}

// announcers are the nodes that the advertisement names; none is all. A MetalLB that does
// not look at the label by which the control plane is left out is told the workers: no
// backend runs on the control plane, so that what its announcements lead to differs.
func (w *worker) announcers(ctx context.Context) ([]string, error) {
	if !w.Scenario.MetalLBBefore(scenario.MetalLBStatuses) || w.Scenario.Spec.Cluster.ControlPlaneAnnounces {
		return nil, nil
	}
	nodes, err := w.world.cluster.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range nodes {
		if !n.ControlPlane() {
			names = append(names, n.Name())
		}
	}
	return names, nil
}

// noted notes what the deployment goes on without. What it failed with is returned where
// ctx has ended.
func (w *worker) noted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return w.note("deploy", err.Error())
}

// note journals and tells what does not stop the scenario.
func (w *worker) note(about, text string) error {
	w.progress("%s: %s", about, text)
	return w.journal.Write(journal.KindNote, map[string]string{about: text})
}

// collectLimit bounds the gathering of logs.
const collectLimit = time.Minute

func (w *worker) collect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pace.Scale(ctx, collectLimit))
	defer cancel()
	return w.world.cluster.Collect(ctx, filepath.Join(w.Dir, "cluster"))
}

func (w *worker) delete(ctx context.Context) error {
	if w.world == nil {
		return nil
	}
	if err := w.world.cluster.Delete(ctx); err != nil {
		return err
	}
	return w.world.cluster.WaitGone(ctx)
}
