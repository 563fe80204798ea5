// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/cluster/await"
)

const (
	// speakersWait bounds the wait for speakers that have caught up: it takes a second, and
	// speakersEach more for each node of a large cluster on one machine.
	speakersWait = 20 * time.Second
	speakersEach = 500 * time.Millisecond
	// speakersAtOnce is how many speakers are asked at once: each is a process more.
	speakersAtOnce = 8
	// speakersQuiet is how many looks in a row must find that a speaker has handled nothing
	// since the one before.
	speakersQuiet = 3
)

// WaitSpeakers waits until every speaker has loaded its configuration and, for some looks,
// handles nothing more: then it has most likely handled the nodes. One that handles a
// Service before them elects without their labels, and an excluded node that elects itself
// keeps the VIP: that a node becomes known makes MetalLB look at no Service again
// (speaker/main.go, isNodeAvailableChanged, 0.15.2 and 0.16.1; seen once in four clusters).
// Who makes Services minutes after MetalLB never sees it; a harness that is quick does.
func (e *Env) WaitSpeakers(ctx context.Context) error {
	nodes, err := e.Cluster.Nodes(ctx)
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	var once sync.Mutex
	var bearer string // one that could not be had is asked for again
	token := func() (string, error) {
		once.Lock()
		defer once.Unlock()
		if bearer != "" {
			return bearer, nil
		}
		var err error
		bearer, err = e.metricsToken(ctx)
		return bearer, err
	}
	handled := map[string]string{}
	w := await.Wait{For: "the speakers to have caught up", Within: speakersWait + time.Duration(len(nodes))*speakersEach, InARow: speakersQuiet}
	return await.Until(ctx, w, func(ctx context.Context) (bool, string, error) {
		pods, err := e.speakers(ctx)
		if err != nil {
			return false, "", err
		}
		now, err := e.handled(ctx, nodes, pods, token)
		if err != nil {
			return false, "", err
		}
		quiet := maps.Equal(now, handled) && !slices.Contains(slices.Collect(maps.Values(now)), notLoaded)
		handled = now
		return quiet, fmt.Sprintf("handled so far: %v", now), nil
	})
}

// speakers lists the speakers' pods. It is an error where there is none.
func (e *Env) speakers(ctx context.Context) ([]corev1.Pod, error) {
	list, err := e.Kube.CoreV1().Pods(e.MetalLB).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=speaker"})
	if err != nil {
		return nil, fmt.Errorf("list speakers: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("list speakers: no pod in namespace %s has the label app.kubernetes.io/component=speaker", e.MetalLB)
	}
	return list.Items, nil
}

// handled reads from each speaker how many objects it has handled, by pod.
func (e *Env) handled(ctx context.Context, nodes []cluster.Node, pods []corev1.Pod, token func() (string, error)) (map[string]string, error) {
	found := make([]string, len(pods))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(speakersAtOnce)
	for i, p := range pods {
		at := slices.IndexFunc(nodes, func(n cluster.Node) bool { return n.Name() == p.Spec.NodeName })
		if at < 0 {
			return nil, fmt.Errorf("read metrics of %s: its node %q is not in the cluster", p.Name, p.Spec.NodeName)
		}
		g.Go(func() error {
			text, err := readMetrics(ctx, nodes[at], endpointOf(p), token)
			if err != nil {
				return fmt.Errorf("read metrics of %s: %w", p.Name, err)
			}
			found[i] = updates(text)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for i, p := range pods {
		out[p.Name] = found[i]
	}
	return out, nil
}

// notLoaded is what a speaker has handled that has no configuration yet.
const notLoaded = "no configuration"

// updates is how many objects a speaker has handled, as its metrics say it.
func updates(metrics string) string {
	const loaded, handled = "metallb_k8s_client_config_loaded_bool ", "metallb_k8s_client_updates_total "
	n, ready := "", false
	for line := range strings.Lines(metrics) {
		line = strings.TrimSpace(line)
		ready = ready || line == loaded+"1"
		if value, ok := strings.CutPrefix(line, handled); ok {
			n = value
		}
	}
	if !ready || n == "" {
		return notLoaded
	}
	return n
}
