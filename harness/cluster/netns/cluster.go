// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/cluster/await"
	"github.com/lbmatrix/lbmatrix/harness/cluster/forwarder"
	"github.com/lbmatrix/lbmatrix/harness/cluster/netns/standin"
	"github.com/lbmatrix/lbmatrix/harness/pace"
)

// Cluster is a running cluster of machines.
type Cluster struct {
	o        Options
	layout   layout
	nodes    []*member // control plane first
	client   *member
	observer *member
	control  []*process
	forward  *forwarder.Forwarder
	rest     *rest.Config
	kube     kubernetes.Interface
	agent    *standin.Agent
	runtime  *runtime

	finishing *finishing // nil before there is an API server

	mu       sync.Mutex
	ending   bool       // what ends now does so because it was told to
	machines []*machine // all there are
	timings  []cluster.Timing
}

var (
	_ cluster.Cluster  = (*Cluster)(nil)
	_ cluster.PodHosts = (*Cluster)(nil)
)

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

// Nodes implements cluster.Cluster; the control plane comes first.
func (c *Cluster) Nodes(context.Context) ([]cluster.Node, error) {
	out := make([]cluster.Node, len(c.nodes))
	for i, n := range c.nodes {
		out[i] = n
	}
	return out, nil
}

// Segment implements cluster.Cluster.
func (c *Cluster) Segment(context.Context) (cluster.Segment, error) {
	return c.layout.segment(len(c.nodes)), nil
}

// Client implements cluster.Cluster.
func (c *Cluster) Client(context.Context) (cluster.Host, error) { return c.client, nil }

// Observer implements cluster.Cluster.
func (c *Cluster) Observer(context.Context) (cluster.Host, error) { return c.observer, nil }

// Probe is where client and observer find lbprobe.
func (c *Cluster) Probe() string { return c.o.Programs[programProbe] }

// NodeProbe is the same: members of the segment see the machine's files.
func (c *Cluster) NodeProbe() string { return c.Probe() }

// PodHost implements cluster.PodHosts. A pod on its node's network is its node.
func (c *Cluster) PodHost(namespace, pod string) (cluster.Host, error) {
	m, err := c.runtime.place(namespace, pod)
	if err != nil {
		return nil, err
	}
	return &member{machine: m, node: -1}, nil
}

// apiServer is where the API server is on the segment.
func (c *Cluster) apiServer() netip.AddrPort {
	return netip.AddrPortFrom(c.layout.address(offsetNodes), apiPort)
}

// Timings says how long the steps of Create took, in the order they ended.
func (c *Cluster) Timings() []cluster.Timing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]cluster.Timing(nil), c.timings...)
}

func (c *Cluster) took(name string, since time.Time, after ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timings = append(c.timings, cluster.Timing{Name: name, Began: since, Elapsed: time.Since(since), After: after})
}

// The steps of a bring-up.
const (
	stepMachines = "machines"
	stepAnswers  = "API server answers"
	stepAPI      = "API server ready"
	stepNodes    = "nodes registered"
	stepServices = "Services work"
)

func (c *Cluster) own(m *machine) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.machines = append(c.machines, m)
}

// Died says which process of the control plane ended by itself, and how; nil while all run.
// Whatever failed after that failed for it.
func (c *Cluster) Died() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return nil // it was told to
	}
	return c.controlPlaneDied()
}

// watch tells of a process of the control plane that ends: nothing starts it again.
func (c *Cluster) watch(p *process) {
	<-p.done
	c.mu.Lock()
	ending := c.ending
	c.mu.Unlock()
	if !ending {
		c.o.Crashed(p.died().Error())
	}
}

// crashed tells of a program that ended and is started again.
func (c *Cluster) crashed(pod string, err error) {
	c.o.Crashed(fmt.Sprintf("pod %s crashed and is started again: %v", pod, err))
}

// readyWait bounds the start of kube-proxy, which takes some seconds, and readyEach is what each
// node adds: of a hundred on two cores, half had theirs after a minute.
const (
	readyWait = time.Minute
	readyEach = 2 * time.Second
)

// tryWait is how long one try may take.
const tryWait = 300 * time.Millisecond

// askAtOnce is how many nodes are asked at once whether their Services work.
const askAtOnce = 8

// servicesScript asks for the API server's Service until it answers, anything. Each try
// is a connection of its own: a SYN that was sent before the rules were there goes past
// them however often it is repeated.
const servicesScript = `until curl -sSk -o /dev/null --max-time "$2" "$1"; do sleep "$3"; done`

// WaitReady waits for what Create left under way: kube-proxy runs, and the API server's
// Service address works, on every node. kube-proxy calls itself healthy before that.
func (c *Cluster) WaitReady(ctx context.Context) error {
	if err := c.finishing.wait(ctx); err != nil {
		return fmt.Errorf("finish cluster %s: %w", c.o.Name, err)
	}
	defer c.took(stepServices, time.Now(), stepNodes, stepAPI)
	within := readyWait + time.Duration(len(c.nodes))*readyEach
	w := await.Wait{For: "kube-proxy to be ready on every node", Within: within, Every: pollFast}
	err := await.Until(ctx, w, func(ctx context.Context) (bool, string, error) {
		if err := c.controlPlaneDied(); err != nil {
			return false, "", await.Fatal(err)
		}
		d, err := c.kube.AppsV1().DaemonSets(metav1.NamespaceSystem).Get(ctx, programProxy, metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		return int(d.Status.NumberReady) == len(c.nodes), fmt.Sprintf("%d of %d", d.Status.NumberReady, len(c.nodes)), c.agent.Err()
	})
	if err != nil {
		return err
	}
	// Not beside kube-proxy's start: a process a try on each node takes the processors from it.
	url := "https://" + netip.AddrPortFrom(c.layout.service(1), 443).String() + "/livez"
	limit := pace.Scale(ctx, within)
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("they did not within %s", limit))
	defer cancel()
	g, limited := errgroup.WithContext(limited)
	g.SetLimit(askAtOnce)
	for _, n := range c.nodes {
		g.Go(func() error {
			if err := n.Run(limited, cluster.Command{Path: "sh", Args: []string{"-c", servicesScript, "sh", url, seconds(limited, tryWait), seconds(limited, tryPause)}}); err != nil {
				return fmt.Errorf("wait for Services to work on %s: %w", n.name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// Delete implements cluster.Cluster. What is gone already is fine.
func (c *Cluster) Delete(ctx context.Context) error {
	c.finishing.end()
	c.agent.Stop()
	c.agent = nil
	err := c.forward.Stop(ctx)
	c.forward = nil
	c.mu.Lock()
	c.ending = true
	machines := c.machines
	c.machines = nil
	c.mu.Unlock()
	errs := make([]error, len(machines))
	var g errgroup.Group
	for i, m := range machines {
		g.Go(func() error { errs[i] = m.stop(ctx); return nil })
	}
	_ = g.Wait() // errors are in errs
	if err := errors.Join(append(errs, err)...); err != nil {
		return fmt.Errorf("delete cluster %s: %w", c.o.Name, err)
	}
	return nil
}

// WaitGone verifies that the ledger holds nothing of this cluster any more.
func (c *Cluster) WaitGone(context.Context) error {
	var left []string
	for _, e := range c.o.Ledger.Entries() {
		left = append(left, e.Name)
	}
	if len(left) > 0 {
		return fmt.Errorf("delete cluster %s: still there: %s", c.o.Name, strings.Join(left, ", "))
	}
	return nil
}

// Keep makes the cluster outlive this process. Nobody stands in for its kubelets then:
// what runs goes on, and a program that ends is not started again.
func (c *Cluster) Keep(ctx context.Context) error {
	c.finishing.settle(ctx)
	c.agent.Stop()
	c.mu.Lock()
	machines := c.machines
	c.mu.Unlock()
	for _, m := range machines {
		if err := m.keep(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Reach says how a person uses a cluster that was kept.
func (c *Cluster) Reach() string {
	if len(c.nodes) == 0 {
		return "its machines were not all made"
	}
	return fmt.Sprintf("%s %s --kubeconfig %s --server https://%s get svc -A",
		strings.Join(c.nodes[0].enter(), " "), c.o.Programs[programKubectl], c.o.path("kubeconfig"), c.apiServer())
}
