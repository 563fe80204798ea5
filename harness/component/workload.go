// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package component

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lbmatrix/lbmatrix/harness/cluster/await"
)

// startWait bounds the start of pods whose images are on the nodes already, and startEach is
// what each node adds: of a hundred on two cores, half had their kube-proxy after a minute.
const (
	startWait = 2 * time.Minute
	startEach = 2 * time.Second
)

// startWithin is the bound for a cluster of so many nodes. Where they cannot be counted it is
// that for few: the wait itself will say what is wrong.
func startWithin(ctx context.Context, c kubernetes.Interface) time.Duration {
	nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return startWait
	}
	return startWait + time.Duration(len(nodes.Items))*startEach
}

// WaitDeployment waits until every replica of a Deployment is updated and ready.
func WaitDeployment(ctx context.Context, c kubernetes.Interface, namespace, name string, progress func(string)) error {
	return waitPods(ctx, c, namespace, "Deployment "+name, progress, func(ctx context.Context) (workload, error) {
		d, err := c.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return workload{}, err
		}
		want := int32(1)
		if d.Spec.Replicas != nil {
			want = *d.Spec.Replicas
		}
		return workload{
			want: want, ready: d.Status.ReadyReplicas, selector: d.Spec.Selector,
			current: d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == want && d.Status.Replicas == want,
		}, nil
	})
}

// WaitDaemonSet waits until a DaemonSet has a ready pod on every node it is for.
func WaitDaemonSet(ctx context.Context, c kubernetes.Interface, namespace, name string, progress func(string)) error {
	return waitPods(ctx, c, namespace, "DaemonSet "+name, progress, func(ctx context.Context) (workload, error) {
		d, err := c.AppsV1().DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return workload{}, err
		}
		want := d.Status.DesiredNumberScheduled
		return workload{
			want: want, ready: d.Status.NumberReady, selector: d.Spec.Selector,
			current: want > 0 && d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedNumberScheduled == want,
		}, nil
	})
}

// workload is how far a Deployment or DaemonSet is.
type workload struct {
	want, ready int32
	current     bool // the status speaks of the object's present form
	selector    *metav1.LabelSelector
}

func waitPods(ctx context.Context, c kubernetes.Interface, namespace, what string, progress func(string),
	look func(context.Context) (workload, error),
) error {
	w := await.Wait{For: what + " to be ready", Within: startWithin(ctx, c)}
	if progress != nil {
		w.Changed = func(s string) { progress(what + ": " + s) }
	}
	return await.Until(ctx, w, func(ctx context.Context) (bool, string, error) {
		now, err := look(ctx)
		if err != nil {
			return false, "", err
		}
		state := fmt.Sprintf("%d of %d pods ready", now.ready, now.want)
		if now.current && now.ready == now.want {
			return true, state, nil
		}
		pods, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(now.selector)})
		if err != nil {
			return false, state, err
		}
		return false, state + podTroubles(pods.Items), nil
	})
}

// podTroubles says in one line why pods are not ready.
func podTroubles(pods []corev1.Pod) string {
	var out []string
	for _, p := range pods {
		if t := podTrouble(p); t != "" {
			out = append(out, p.Name+" "+t)
		}
	}
	if len(out) == 0 {
		return ""
	}
	slices.Sort(out)
	return " (" + strings.Join(out, ", ") + ")"
}

func podTrouble(p corev1.Pod) string {
	for _, s := range append(slices.Clone(p.Status.InitContainerStatuses), p.Status.ContainerStatuses...) {
		switch {
		case s.State.Waiting != nil:
			return strings.TrimSpace(s.State.Waiting.Reason + " " + s.State.Waiting.Message)
		case s.State.Terminated != nil && s.State.Terminated.ExitCode != 0:
			return fmt.Sprintf("exited with %d", s.State.Terminated.ExitCode)
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Status == corev1.ConditionFalse && (c.Type == corev1.PodScheduled || c.Type == corev1.PodReady) {
			return strings.TrimSpace(c.Reason + " " + c.Message)
		}
	}
	return ""
}
