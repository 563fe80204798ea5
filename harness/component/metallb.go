// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package component

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/lbmatrix/lbmatrix/harness/cluster/await"
)

// What the harness calls its pool and advertisement.
const (
	PoolName          = "lbmatrix"
	AdvertisementName = "lbmatrix"
)

// webhookWait bounds the time until MetalLB's validating webhook lets objects in.
const webhookWait = 90 * time.Second

func poolResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "metallb.io", Version: "v1beta1", Resource: "ipaddresspools"}
}

func advertisementResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "metallb.io", Version: "v1beta1", Resource: "l2advertisements"}
}

// MetalLBDefaults are the harness's values for MetalLB's chart: L2 only, images that
// are on the nodes, and probes that look every second instead of every ten, for a
// run waits for them.
//
// Without webhook the controller does not make the certificate of its webhook, which it is
// not ready before (2 of the 7 s that a cluster of namespaces took to its first answer).
// The webhook validates what is written, and a run writes nothing that it would refuse.
func MetalLBDefaults(version string, webhook bool) map[string]any {
	image := func(name string) map[string]any {
		return map[string]any{"repository": "quay.io/metallb/" + name, "tag": version, "pullPolicy": "IfNotPresent"}
	}
	readiness := map[string]any{"initialDelaySeconds": 0, "periodSeconds": 1}
	controller := map[string]any{"image": image("controller"), "readinessProbe": readiness}
	if !webhook {
		controller["webhookMode"] = "disabled"
	}
	return map[string]any{
		"controller": controller,
		"speaker": map[string]any{
			"image":          image("speaker"),
			"readinessProbe": readiness,
			"startupProbe":   map[string]any{"periodSeconds": 1, "failureThreshold": 120},
			"frr":            map[string]any{"enabled": false},
		},
		"frrk8s": map[string]any{"enabled": false},
		// The webhook serves once kubelet has refreshed a mounted secret, up to a minute
		// after the pod is ready. It only validates: what the harness writes is valid.
		"crds": map[string]any{"validationFailurePolicy": "Ignore"},
	}
}

// Validates says whether values of MetalLB's chart ask for its webhook to be asked about
// each object, and for those that it does not answer for to be refused.
func Validates(values map[string]any) bool {
	crds, _ := values["crds"].(map[string]any)
	return crds["validationFailurePolicy"] == "Fail"
}

// MetalLB configures an installed MetalLB.
type MetalLB struct {
	Client    kubernetes.Interface
	Dynamic   dynamic.Interface
	Namespace string
	Release   string            // the Helm release's name
	Progress  func(line string) // nil discards
}

// NewMetalLB makes one for the cluster behind config.
func NewMetalLB(config *rest.Config, release, namespace string, progress func(string)) (*MetalLB, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make MetalLB client: %w", err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make MetalLB client: %w", err)
	}
	return &MetalLB{Client: client, Dynamic: dyn, Namespace: namespace, Release: release, Progress: progress}, nil
}

// prefix is how the chart's names begin.
func (m *MetalLB) prefix() string {
	if strings.Contains(m.Release, "metallb") {
		return m.Release
	}
	return m.Release + "-metallb"
}

// memberlistKey is how many random bytes the speakers' key has, as the controller makes it.
const memberlistKey = 16

// ApplyKey makes the namespace and the Secret with the key by which speakers know one
// another, before the chart is installed. The controller makes one where there is none
// (internal/k8s CreateMlSecret); until it runs, kubelets try to mount what is not there,
// in steps that grow to 16 s and more. One that is there stays.
func (m *MetalLB) ApplyKey(ctx context.Context) error {
	if err := createNamespace(ctx, m.Client, m.Namespace, nil); err != nil {
		return err
	}
	var key [memberlistKey]byte
	_, _ = rand.Read(key[:]) // never fails
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: m.prefix() + "-memberlist", Labels: map[string]string{managedBy: managerName}},
		Data:       map[string][]byte{"secretkey": []byte(base64.RawStdEncoding.EncodeToString(key[:]))},
	}
	if _, err := m.Client.CoreV1().Secrets(m.Namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create secret %s: %w", secret.Name, err)
	}
	return nil
}

// WaitReady waits for the controller and for a speaker on every node. Whether the
// speakers agree on who announces is not known from here: that is observed on the
// wire.
func (m *MetalLB) WaitReady(ctx context.Context) error {
	if err := WaitDeployment(ctx, m.Client, m.Namespace, m.prefix()+"-controller", m.Progress); err != nil {
		return err
	}
	return WaitDaemonSet(ctx, m.Client, m.Namespace, m.prefix()+"-speaker", m.Progress)
}

// Range is the addresses from First to Last, both included.
type Range struct{ First, Last netip.Addr }

// ApplyPool makes ranges the addresses MetalLB assigns: one, or one of each family.
func (m *MetalLB) ApplyPool(ctx context.Context, ranges ...Range) error {
	var addresses []any
	for _, r := range ranges {
		addresses = append(addresses, r.First.String()+"-"+r.Last.String())
	}
	return m.apply(ctx, poolResource(), "IPAddressPool", PoolName, map[string]any{"addresses": addresses, "autoAssign": true})
}

// ApplyAdvertisement makes the speakers announce the pool by ARP and NDP. nodes, when
// given, are the only ones that may.
func (m *MetalLB) ApplyAdvertisement(ctx context.Context, nodes ...string) error {
	spec := map[string]any{"ipAddressPools": []any{PoolName}}
	if len(nodes) > 0 {
		var values []any
		for _, n := range nodes {
			values = append(values, n)
		}
		spec["nodeSelectors"] = []any{map[string]any{"matchExpressions": []any{
			map[string]any{"key": corev1.LabelHostname, "operator": "In", "values": values},
		}}}
	}
	return m.apply(ctx, advertisementResource(), "L2Advertisement", AdvertisementName, spec)
}

// apply makes an object what is said here, by server-side apply: an API server holds a
// create back for two seconds where the CRD was established less than two seconds ago,
// and nothing else (k8s.io/apiextensions-apiserver, customresource_handler.go). It tries
// again while MetalLB's CRDs are not served or its webhook does not answer yet: both come
// up after the installation.
func (m *MetalLB) apply(ctx context.Context, r schema.GroupVersionResource, kind, name string, spec map[string]any) error {
	client := m.Dynamic.Resource(r).Namespace(m.Namespace)
	w := await.Wait{For: "MetalLB's webhook to accept " + kind + " " + name, Within: webhookWait}
	if m.Progress != nil {
		w.Changed = m.Progress
	}
	obj := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": r.GroupVersion().String(), "kind": kind,
		"metadata": map[string]any{"name": name, "namespace": m.Namespace, "labels": map[string]any{managedBy: managerName}},
		"spec":     spec,
	}}
	return await.Until(ctx, w, func(ctx context.Context) (bool, string, error) {
		_, err := client.Apply(ctx, name, obj, metav1.ApplyOptions{FieldManager: managerName, Force: true})
		if err != nil && !transient(err) {
			return false, "", await.Fatal(err)
		}
		if err != nil {
			return false, "not yet: " + err.Error(), err
		}
		return true, kind + " " + name + " accepted", nil
	})
}

// transient says whether trying again can help: everything but an object that is
// refused for what it says.
func transient(err error) bool {
	if strings.Contains(err.Error(), "failed calling webhook") {
		return true
	}
	return !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) && !apierrors.IsForbidden(err)
}
