// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package standin does, for a cluster that has an API server and nothing else, what the
// controller manager, the scheduler and the kubelets would do for its pods: it makes the
// pods of Deployments and DaemonSets, chooses their nodes, starts their programs, keeps
// their status and the EndpointSlices of their Services.
//
// It does what a load balancer's components and backends need, and says where it does
// not: a pod that asks for more is not started, and its status tells why. Pods are not
// moved, not rolled and not drained.
package standin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// Node is a node that pods may be put on.
type Node struct {
	Name         string
	Addresses    []netip.Addr // the first is the one others are told
	ControlPlane bool         // only pods that tolerate its taint go there
}

// Container is a pod's only container, ready to run.
type Container struct {
	Namespace, Pod, Node string
	HostNetwork          bool
	Program              string // the last part of its image's name
	Args                 []string
	Env                  []string // NAME=value
	Mounts               []Mount
}

// Mount is a folder of files at a path.
type Mount struct {
	Path  string
	Files map[string][]byte
}

// Runtime starts what pods are made of.
type Runtime interface {
	// Prepare makes the place a pod runs in, and says which addresses it has, one of a family.
	Prepare(ctx context.Context, namespace, pod, node string, hostNetwork bool) ([]netip.Addr, error)
	// Start starts the container in the place that was prepared. It returns once the
	// program runs; ended then gives, once, how it ended.
	Start(ctx context.Context, c Container) (ended <-chan error, err error)
	// Refresh replaces the files of a running container's mount.
	Refresh(c Container, m Mount) error
	// Probe asks, from within the pod's place, for a URL until it answers with success.
	Probe(ctx context.Context, c Container, url string) error
}

// Options say for whom an agent stands in.
type Options struct {
	Client  kubernetes.Interface
	Nodes   []Node
	Runtime Runtime
	// APIServer is where pods find the API server, and CA whom they trust there (PEM).
	APIServer netip.AddrPort
	CA        []byte
	// Starting is how many programs may be on their way from start to readiness at a time,
	// those of priority class system-node-critical first. At least 1.
	Starting int
	// Crashed is told when a program ended that should run on; it is started again.
	Crashed func(pod string, err error)
}

// Agent stands in until it is stopped.
type Agent struct {
	o    Options
	stop context.CancelFunc
	kick chan struct{}
	wait sync.WaitGroup

	starts *starts

	deployments appslisters.DeploymentLister
	daemonSets  appslisters.DaemonSetLister
	services    corelisters.ServiceLister
	secrets     corelisters.SecretLister
	configMaps  corelisters.ConfigMapLister

	mu     sync.Mutex
	pods   map[string]*pod                       // by namespace/name
	slices map[string]*discoveryv1.EndpointSlice // as last written, by namespace/name
	status map[string]string
	failed error
}

// resync is how often is looked even when nothing is known to have changed: errors of
// the API server heal with it.
const resync = 2 * time.Second

// Start begins to stand in. ctx bounds the first look only.
func Start(ctx context.Context, o Options) (*Agent, error) {
	if o.Crashed == nil {
		o.Crashed = func(string, error) {}
	}
	if o.Starting < 1 {
		return nil, fmt.Errorf("stand in: %d programs may start at a time: none ever would", o.Starting)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	a := &Agent{
		o: o, stop: stop, kick: make(chan struct{}, 1), starts: newStarts(o.Starting),
		pods: map[string]*pod{}, slices: map[string]*discoveryv1.EndpointSlice{}, status: map[string]string{},
	}
	f := informers.NewSharedInformerFactory(o.Client, 0)
	a.deployments, a.daemonSets = f.Apps().V1().Deployments().Lister(), f.Apps().V1().DaemonSets().Lister()
	a.services, a.secrets, a.configMaps = f.Core().V1().Services().Lister(), f.Core().V1().Secrets().Lister(), f.Core().V1().ConfigMaps().Lister()
	changed := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { a.wake() }, UpdateFunc: func(any, any) { a.wake() }, DeleteFunc: func(any) { a.wake() },
	}
	for _, i := range []cache.SharedIndexInformer{
		f.Apps().V1().Deployments().Informer(), f.Apps().V1().DaemonSets().Informer(),
		f.Core().V1().Services().Informer(), f.Core().V1().Secrets().Informer(), f.Core().V1().ConfigMaps().Informer(),
	} {
		if _, err := i.AddEventHandler(changed); err != nil {
			stop()
			return nil, fmt.Errorf("watch the API server: %w", err)
		}
	}
	f.Start(running.Done())
	for kind, ok := range f.WaitForCacheSync(ctx.Done()) {
		if !ok {
			stop()
			return nil, fmt.Errorf("watch the API server: %s: %w", kind, context.Cause(ctx))
		}
	}
	a.wait.Go(func() { a.run(running) })
	return a, nil
}

// Stop ends the standing in; what runs goes on without it.
func (a *Agent) Stop() {
	if a == nil {
		return
	}
	a.stop()
	a.wait.Wait()
}

// Err says what the last look failed with; nil when all was well.
func (a *Agent) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}

func (a *Agent) wake() {
	select {
	case a.kick <- struct{}{}:
	default: // it will look anyway
	}
}

func (a *Agent) run(ctx context.Context) {
	tick := time.NewTicker(resync)
	defer tick.Stop()
	for {
		err := a.look(ctx)
		if ctx.Err() != nil {
			return
		}
		a.mu.Lock()
		a.failed = err
		a.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-a.kick:
		case <-tick.C:
		}
	}
}

// look compares what is with what should be, once.
func (a *Agent) look(ctx context.Context) error {
	workloads, err := a.workloads()
	if err != nil {
		return err
	}
	var errs []error
	for _, w := range workloads {
		for _, p := range w.pods {
			a.ensure(ctx, p)
		}
	}
	for _, p := range a.known() {
		errs = append(errs, p.refresh(a))
	}
	for _, w := range workloads {
		errs = append(errs, a.report(ctx, w))
	}
	return errors.Join(append(errs, a.endpoints(ctx))...)
}

// ensure starts a pod that is not there yet.
func (a *Agent) ensure(ctx context.Context, p *pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.pods[p.key()]; ok {
		return
	}
	a.pods[p.key()] = p
	a.wait.Go(func() { p.live(ctx, a) })
}

func (a *Agent) known() []*pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]*pod, 0, len(a.pods))
	for _, p := range a.pods {
		out = append(out, p)
	}
	return out
}
