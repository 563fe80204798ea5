// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// inClusterAtOnce is how many in-cluster clients run beside one another: enough to be
// done soon, and few enough for two cores.
const inClusterAtOnce = 2

// inPod runs lbprobe ($2, with the arguments after it) in the network of the pod that is
// named $1. A backend has its pod's name in its environment.
const inPod = `pod=$(grep -lsazx "POD_NAME=$1" /proc/[0-9]*/environ | head -n 1); pid=${pod#/proc/}; pid=${pid%/environ}
[ -n "$pid" ] || { echo "no process of pod $1 runs here" >&2; exit 1; }
shift; exec nsenter --target "$pid" --net "$@"`

// inside is one client in the cluster.
type inside struct {
	host    cluster.Host
	node    string
	from    string // journal.FromNode or journal.FromPod
	pod     string
	started program
}

func (i inside) stream() string { return i.from + "@" + i.node }

// observeInCluster asks the VIPs of both traffic policies from every node, and from a pod
// on each node that has a backend.
func observeInCluster(ctx context.Context, e *Env, o *journal.Observation) error {
	vips, missing, err := e.vipTargets(ctx, "http", "", func(s journal.Service) (int, bool) { return s.Port, s.Role == "" && !s.BackendsOffAnnouncer })
	if err != nil {
		return err
	}
	if vips == nil {
		return unassigned(o, missing)
	}
	clients, err := e.insiders(ctx)
	if err != nil {
		return err
	}
	var paths journal.Paths
	for _, c := range clients {
		for _, t := range vips {
			t.Node, t.From, t.Pod, t.Stream = c.node, c.from, c.pod, c.stream()
			paths.Targets = append(paths.Targets, t)
		}
	}
	if err := o.Write(journal.KindPaths, paths); err != nil {
		return err
	}
	limits := e.Scenario.Spec.Limits
	rate, count := limits.RequestRate*len(vips), limits.InClusterRequests*len(vips)
	args := []string{
		"load", "--mode", probe.ModeHTTPNew, "--rate", strconv.Itoa(rate), "--count", strconv.Itoa(count),
		"--timeout", requestTimeout.String(), "--late", lateAfter.String(),
	}
	for _, t := range vips {
		args = append(args, "--target", t.Name+"="+t.Address)
	}
	work := time.Duration(float64(count)/float64(rate)*float64(time.Second)) + requestTimeout
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(inClusterAtOnce)
	for _, c := range clients {
		g.Go(func() error {
			_, err := e.start(gctx, o, c.host, c.started, c.stream(), work, args...)
			return err
		})
	}
	return g.Wait()
}

// insiders lists the clients: one on each node, and one in the network of the first ready
// backend of each node that has one.
func (e *Env) insiders(ctx context.Context) ([]inside, error) {
	nodes, err := e.Cluster.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var objs journal.Objects
	if err := e.backends(ctx, &objs); err != nil {
		return nil, err
	}
	var out []inside
	for _, n := range nodes {
		out = append(out, inside{host: n, node: n.Name(), from: journal.FromNode, started: program{path: e.NodeProbe}})
		for _, b := range objs.Backends {
			if b.Node == n.Name() && b.Pod != "" {
				in := inside{
					host: n, node: n.Name(), from: journal.FromPod, pod: b.Pod,
					started: program{path: "sh", args: []string{"-c", inPod, "sh", b.Pod, e.NodeProbe}},
				}
				if pods, ok := e.Cluster.(cluster.PodHosts); ok {
					if in.host, err = pods.PodHost(e.Namespace, b.Pod); err != nil {
						return nil, fmt.Errorf("reach pod %s: %w", b.Pod, err)
					}
					in.started = program{path: e.NodeProbe}
				}
				out = append(out, in)
				break
			}
		}
	}
	return out, nil
}
