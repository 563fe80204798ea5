// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package standin

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// workload is a Deployment or a DaemonSet and the pods it should have.
type workload struct {
	deployment *appsv1.Deployment
	daemonSet  *appsv1.DaemonSet
	pods       []*pod
}

// workloads lists what should run, in an order that does not change.
func (a *Agent) workloads() ([]workload, error) {
	sets, err := a.daemonSets.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list DaemonSets: %w", err)
	}
	deployments, err := a.deployments.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list Deployments: %w", err)
	}
	var out []workload
	for _, d := range sets {
		w := workload{daemonSet: d}
		for i, n := range a.o.Nodes {
			if fits(d.Spec.Template.Spec, n) {
				w.pods = append(w.pods, newPod(d.ObjectMeta, "DaemonSet", d.Spec.Template, i, n))
			}
		}
		out = append(out, w)
	}
	for _, d := range deployments {
		w := workload{deployment: d}
		var nodes []Node
		for _, n := range a.o.Nodes {
			if fits(d.Spec.Template.Spec, n) {
				nodes = append(nodes, n)
			}
		}
		replicas := 1
		if d.Spec.Replicas != nil {
			replicas = int(*d.Spec.Replicas)
		}
		for i := range replicas {
			if len(nodes) > 0 { // spread evenly, as the backends ask for
				w.pods = append(w.pods, newPod(d.ObjectMeta, "Deployment", d.Spec.Template, i, nodes[i%len(nodes)]))
			}
		}
		out = append(out, w)
	}
	return out, nil
}

// fits says whether a pod may be put on a node. The only taint here is the control
// plane's; selectors other than the operating system's are met by no node.
func fits(spec corev1.PodSpec, n Node) bool {
	for key, value := range spec.NodeSelector {
		if key != corev1.LabelOSStable || value != "linux" {
			return false
		}
	}
	return !n.ControlPlane || slices.ContainsFunc(spec.Tolerations, toleratesControlPlane)
}

func toleratesControlPlane(t corev1.Toleration) bool {
	if t.Effect != "" && t.Effect != corev1.TaintEffectNoSchedule {
		return false
	}
	if t.Operator == corev1.TolerationOpExists {
		return t.Key == "" || t.Key == controlPlaneTaint
	}
	return t.Key == controlPlaneTaint && t.Value == ""
}

const controlPlaneTaint = "node-role.kubernetes.io/control-plane"

func newPod(owner metav1.ObjectMeta, kind string, template corev1.PodTemplateSpec, i int, n Node) *pod {
	return &pod{
		node: n,
		object: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: owner.Namespace, Name: owner.Name + "-" + strconv.Itoa(i),
				Labels: template.Labels, Annotations: template.Annotations,
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: owner.Name, UID: owner.UID, Controller: new(true)}},
			},
			Spec: template.Spec,
		},
	}
}

// report writes a workload's status where it has changed.
func (a *Agent) report(ctx context.Context, w workload) error {
	ready := int32(0)
	for _, p := range w.pods {
		a.mu.Lock()
		live := a.pods[p.key()]
		a.mu.Unlock()
		if live != nil && live.isReady() {
			ready++
		}
	}
	total := int32(len(w.pods))
	if d := w.daemonSet; d != nil {
		now := appsv1.DaemonSetStatus{
			ObservedGeneration: d.Generation, DesiredNumberScheduled: total, CurrentNumberScheduled: total, UpdatedNumberScheduled: total,
			NumberReady: ready, NumberAvailable: ready, NumberUnavailable: total - ready,
		}
		return a.changed("DaemonSet "+d.Namespace+"/"+d.Name, fmt.Sprint(now), func() error {
			d := d.DeepCopy()
			d.Status = now
			_, err := a.o.Client.AppsV1().DaemonSets(d.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{})
			return err
		})
	}
	d := w.deployment
	now := appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: total, UpdatedReplicas: total,
		ReadyReplicas: ready, AvailableReplicas: ready, UnavailableReplicas: total - ready,
	}
	return a.changed("Deployment "+d.Namespace+"/"+d.Name, fmt.Sprint(now), func() error {
		d := d.DeepCopy()
		d.Status = now
		_, err := a.o.Client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{})
		return err
	})
}

// changed writes a status unless it was the last that was written.
func (a *Agent) changed(what, now string, write func() error) error {
	if a.status[what] == now {
		return nil
	}
	if err := write(); err != nil {
		return fmt.Errorf("write status of %s: %w", what, err)
	}
	a.status[what] = now
	return nil
}
