// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/lbmatrix/lbmatrix/harness/cluster/kind"
	"github.com/lbmatrix/lbmatrix/harness/component"
	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/observe"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// world is the cluster under test and the clients to reach it.
type world struct {
	cluster *kind.Cluster
	kube    kubernetes.Interface
	dynamic dynamic.Interface
}

// probePath is where the probe image holds lbprobe.
const probePath = "/lbprobe"

// clusterName names everything of a run's cluster: short, for node names derive from
// it, and another for every scenario of the run: what one could not delete must not be
// in the way of the next.
func (w *worker) clusterName() string {
	sum := sha256.Sum256([]byte(w.Scenario.Metadata.Name))
	return fmt.Sprintf("lbm-%s-%x", w.RunID, sum[:2])
}

func (w *worker) create(ctx context.Context) error {
	c, err := kind.Create(ctx, kind.Options{
		Name: w.clusterName(), Scenario: w.Scenario, Docker: &docker.Client{Host: w.DockerHost},
		Images:      kind.Images{ControlPlane: w.ControlPlaneImage, Worker: w.WorkerImage, Probe: w.ClientImage},
		ProbeBinary: w.ProbeBinary, Ledger: w.ledger, RunID: w.RunID, Dir: w.Dir, Log: w.log,
		Progress: func(msg string) { w.progress("%s", msg) },
	})
	if c != nil {
		w.world = &world{cluster: c}
	}
	if err != nil {
		return err
	}
	var parts []string
	for _, t := range c.Timings() {
		parts = append(parts, fmt.Sprintf("%s %.1fs", t.Name, t.Elapsed.Seconds()))
	}
	if err := w.journal.Write(journal.KindNote, map[string]string{"bring-up": strings.Join(parts, ", ")}); err != nil {
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
		release.Defaults = component.MetalLBDefaults(c.Version)
		if err := helm.Install(ctx, release); err != nil {
			return err
		}
		m, err := w.metallb(c)
		if err != nil {
			return err
		}
		return m.WaitReady(ctx)
	case cilium:
		apiServer, err := w.world.cluster.ControlPlaneAddress(ctx)
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
		return w.world.cluster.WaitNetwork(ctx)
	}
	return helm.Install(ctx, release)
}

// The components the harness knows more of than their charts.
const (
	metallb = "metallb" // announces
	cilium  = "cilium"  // connects pods, and may be the data plane
)

func (w *worker) metallb(c scenario.Component) (*component.MetalLB, error) {
	return component.NewMetalLB(w.world.cluster.RESTConfig(), c.Name, c.Namespace, func(line string) { w.progress("%s", line) })
}

// announcer is the scenario's MetalLB.
func (w *worker) announcer() (scenario.Component, error) {
	for _, c := range w.Scenario.Spec.Components {
		if c.Name == metallb {
			return c, nil
		}
	}
	return scenario.Component{}, errors.New("the scenario has no component metallb: nobody would announce the VIP")
}

// deploy makes the pool, the advertisement, the backends and their Services, and
// writes down who is who on the segment.
func (w *worker) deploy(ctx context.Context) error {
	c, err := w.announcer()
	if err != nil {
		return err
	}
	segment, err := w.world.cluster.Segment(ctx)
	if err != nil {
		return err
	}
	m, err := w.metallb(c)
	if err != nil {
		return err
	}
	if err := m.ApplyPool(ctx, segment.First, segment.Last); err != nil {
		return err
	}
	if err := m.ApplyAdvertisement(ctx); err != nil {
		return err
	}
	echo := &component.Echo{
		Client: w.world.kube, Image: w.BackendImage, Replicas: int32(w.Scenario.Spec.Backend.Replicas),
		Progress: func(line string) { w.progress("%s", line) },
	}
	everywhere := func(ctx context.Context) error {
		_, err := echo.PinRemote(ctx, "")
		return err
	}
	for _, step := range []func(context.Context) error{echo.ApplyBackend, echo.WaitReady, everywhere, echo.ApplyServices} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if _, err := echo.WaitAssigned(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		// A Service without a VIP is for the checks to tell: vip-unassigned is a verdict.
		if err := w.note("deploy", err.Error()); err != nil {
			return err
		}
	}
	w.echo = echo
	w.env = &observe.Env{
		Scenario: w.Scenario, Journal: w.journal, Cluster: w.world.cluster, Kube: w.world.kube, Dynamic: w.world.dynamic,
		Namespace: component.EchoNamespace, Remote: component.EchoRemote, Dir: w.Dir, MetalLB: c.Namespace, Unassigned: segment.Unassigned, Probe: probePath,
		Progress: func(msg string) { w.progress("%s", msg) },
	}
	if w.env.Topology, err = observe.Topology(ctx, w.env); err != nil {
		return err
	}
	return w.journal.Write(journal.KindTopology, w.env.Topology)
}

// note journals and tells what does not stop the scenario.
func (w *worker) note(about, text string) error {
	w.progress("%s: %s", about, text)
	return w.journal.Write(journal.KindNote, map[string]string{about: text})
}

// pinRemote moves the endpoints of the remote Service off the node that answers for its
// VIP, on a segment that has settled: speakers that have not joined yet elect another
// node. Without a single announcer there is no node to keep off, and the checks say so.
// That the VIP stays where it is, they see too.
func (w *worker) pinRemote(ctx context.Context) error {
	announcer, err := w.env.RemoteAnnouncer(ctx)
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		return w.note("pin", err.Error())
	}
	n, err := w.echo.PinRemote(ctx, announcer)
	if err != nil {
		return err
	}
	w.progress("%s is announced by %s and has its %d backends elsewhere", component.EchoRemote, announcer, n)
	return nil
}

// collectLimit bounds the gathering of logs.
const collectLimit = time.Minute

func (w *worker) collect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, collectLimit)
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

// howToReach says how to use a kept cluster: the forwarder ends with this process.
func (w *worker) howToReach() string {
	return fmt.Sprintf("DOCKER_HOST=%s docker exec -it %s-control-plane kubectl --kubeconfig /etc/kubernetes/admin.conf get svc -A", w.DockerHost, w.clusterName())
}
