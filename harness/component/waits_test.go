// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package component_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/lbmatrix/lbmatrix/harness/component"
)

func TestWaitDeploymentSaysWhyPodsAreNotReady(t *testing.T) {
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}
	two := int32(2)
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "d", Namespace: "n"},
		Spec:       appsv1.DeploymentSpec{Replicas: &two, Selector: selector},
		Status:     appsv1.DeploymentStatus{Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: 1},
	}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "d-1", Namespace: "n", Labels: map[string]string{"app": "x"}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImageNeverPull"}},
		}}},
	}
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientset(d, p)
		err := component.WaitDeployment(t.Context(), c, "n", "d", nil)
		require.EqualError(t, err, "wait for Deployment d to be ready: not within 2m0s; last seen: 1 of 2 pods ready (d-1 ErrImageNeverPull)")
		many := []runtime.Object{d, p}
		for i := range 100 {
			many = append(many, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("node-", i)}})
		}
		require.ErrorContains(t, component.WaitDeployment(t.Context(), fake.NewClientset(many...), "n", "d", nil), "not within 5m20s", "of a large cluster")

		ready := d.DeepCopy()
		ready.Status.ReadyReplicas = 2
		require.NoError(t, component.WaitDeployment(t.Context(), fake.NewClientset(ready), "n", "d", nil))
		ready.Generation = 2 // the status speaks of an older form
		require.Error(t, component.WaitDeployment(t.Context(), fake.NewClientset(ready), "n", "d", nil))
	})
}

func TestWaitDaemonSetWantsNodes(t *testing.T) {
	ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "n"}, Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "s"}}}}
	synctest.Test(t, func(t *testing.T) {
		require.Error(t, component.WaitDaemonSet(t.Context(), fake.NewClientset(ds), "n", "s", nil), "no pod wanted yet is not ready")
		ds.Status = appsv1.DaemonSetStatus{DesiredNumberScheduled: 3, UpdatedNumberScheduled: 3, NumberReady: 3}
		require.NoError(t, component.WaitDaemonSet(t.Context(), fake.NewClientset(ds), "n", "s", nil))
	})
}

func pools() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "metallb.io", Version: "v1beta1", Resource: "ipaddresspools"}
}

// newMetalLB is one whose API server takes an applied object as it is: that of client-go
// wants one that is there.
func newMetalLB() (*component.MetalLB, *dynamicfake.FakeDynamicClient) {
	dyn := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		pools(): "IPAddressPoolList",
	})
	dyn.PrependReactor("patch", "*", func(a ktesting.Action) (bool, runtime.Object, error) {
		patch := a.(ktesting.PatchActionImpl)
		if patch.PatchType != types.ApplyPatchType || patch.PatchOptions.Force == nil || !*patch.PatchOptions.Force || patch.PatchOptions.FieldManager == "" {
			return true, nil, apierrors.NewBadRequest("no forced apply of a named manager")
		}
		obj := &unstructured.Unstructured{}
		if err := json.Unmarshal(patch.Patch, &obj.Object); err != nil {
			return true, nil, err
		}
		err := dyn.Tracker().Create(patch.Resource, obj, patch.Namespace)
		if apierrors.IsAlreadyExists(err) {
			err = dyn.Tracker().Update(patch.Resource, obj, patch.Namespace)
		}
		return true, obj, err
	})
	return &component.MetalLB{Client: fake.NewClientset(), Dynamic: dyn, Namespace: "metallb-system", Release: "metallb"}, dyn
}

func TestPoolWaitsForTheWebhook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, dyn := newMetalLB()
		tries := 0
		dyn.PrependReactor("patch", "ipaddresspools", func(ktesting.Action) (bool, runtime.Object, error) {
			tries++
			if tries < 4 {
				return true, nil, apierrors.NewInternalError(errors.New(`failed calling webhook "x": connection refused`))
			}
			return false, nil, nil
		})
		first, last := netip.MustParseAddr("172.20.7.240"), netip.MustParseAddr("172.20.7.249")
		require.NoError(t, m.ApplyPool(t.Context(), component.Range{First: first, Last: last}))
		require.Equal(t, 4, tries)
		require.NoError(t, m.ApplyPool(t.Context(), component.Range{First: first, Last: last}), "again: updated")
		list, err := dyn.Resource(pools()).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		require.Len(t, list.Items, 1)
		require.Equal(t, []any{"172.20.7.240-172.20.7.249"}, list.Items[0].Object["spec"].(map[string]any)["addresses"])
	})
}

func TestKeyOfTheSpeakers(t *testing.T) {
	m, _ := newMetalLB()
	for range 2 { // the second time both are there
		require.NoError(t, m.ApplyKey(t.Context()))
	}
	secrets := m.Client.CoreV1().Secrets("metallb-system")
	first, err := secrets.Get(t.Context(), "metallb-memberlist", metav1.GetOptions{})
	require.NoError(t, err)
	key, err := base64.RawStdEncoding.DecodeString(string(first.Data["secretkey"]))
	require.NoError(t, err)
	require.Len(t, key, 16)
	require.NoError(t, secrets.Delete(t.Context(), "metallb-memberlist", metav1.DeleteOptions{}))
	require.NoError(t, m.ApplyKey(t.Context()))
	second, err := secrets.Get(t.Context(), "metallb-memberlist", metav1.GetOptions{})
	require.NoError(t, err)
	require.NotEqual(t, first.Data, second.Data)
	m.Release = "lb"
	require.NoError(t, m.ApplyKey(t.Context()))
	_, err = secrets.Get(t.Context(), "lb-metallb-memberlist", metav1.GetOptions{})
	require.NoError(t, err, "as the chart names it")
}

func TestPoolRefusedIsNotTriedAgain(t *testing.T) {
	m, dyn := newMetalLB()
	dyn.PrependReactor("patch", "ipaddresspools", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewBadRequest("admission webhook denied the request: overlaps")
	})
	begin := time.Now()
	err := m.ApplyPool(t.Context(), component.Range{First: netip.MustParseAddr("10.0.0.1"), Last: netip.MustParseAddr("10.0.0.2")})
	require.ErrorContains(t, err, "overlaps")
	require.Less(t, time.Since(begin), 5*time.Second)
}

func TestMoreServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientset()
		e := &component.Echo{Client: c, Image: "probe:1"}
		c.PrependReactor("get", "deployments", func(ktesting.Action) (bool, runtime.Object, error) { // as the controllers would leave it
			four := int32(4)
			return true, &appsv1.Deployment{
				Spec: appsv1.DeploymentSpec{Replicas: &four}, Status: appsv1.DeploymentStatus{Replicas: 4, UpdatedReplicas: 4, ReadyReplicas: 4},
			}, nil
		})
		for range 2 { // the second time everything is updated
			require.NoError(t, e.ApplyMore(t.Context(), 20))
		}
		services := c.CoreV1().Services(component.EchoNamespace)
		list, err := services.List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		require.Len(t, list.Items, 20)
		require.NoError(t, e.ApplyServices(t.Context())) // they are not counted
		for i, s := range list.Items {
			require.True(t, strings.HasPrefix(s.Name, component.EchoMore), s.Name)
			require.Equal(t, map[string]string{"app.kubernetes.io/name": "echo-more"}, s.Spec.Selector, "backends of their own")
			if i < 19 {
				s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: fmt.Sprintf("192.0.2.%d", i+1)}}
				_, err := services.UpdateStatus(t.Context(), &s, metav1.UpdateOptions{})
				require.NoError(t, err)
			}
		}
		vips, err := e.WaitMoreAssigned(t.Context(), 20, time.Second)
		require.ErrorContains(t, err, "19 of 20 have one")
		require.Len(t, vips, 19, "those that have one")
		last := list.Items[19]
		last.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.20"}}
		_, err = services.UpdateStatus(t.Context(), &last, metav1.UpdateOptions{})
		require.NoError(t, err)
		vips, err = e.WaitMoreAssigned(t.Context(), 20, time.Second)
		require.NoError(t, err)
		require.Len(t, vips, 20)
	})
}

func TestWaitAssigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientset(&corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: component.EchoNamespace}, Reason: "AllocationFailed", Message: "no available IPs",
			InvolvedObject: corev1.ObjectReference{Kind: "Service", Name: component.EchoLocal},
		})
		e := &component.Echo{Client: c, Image: "probe:1"}
		for range 2 { // the second time everything is updated
			require.NoError(t, e.ApplyBackend(t.Context()))
			require.NoError(t, e.ApplyServices(t.Context()))
		}
		_, err := e.WaitAssigned(t.Context())
		require.ErrorContains(t, err, "echo-cluster without VIP, echo-local without VIP, echo-remote without VIP, echo-near without VIP, echo-sticky without VIP, echo-idle without VIP")
		require.ErrorContains(t, err, "echo-local AllocationFailed: no available IPs")

		for i, name := range []string{
			component.EchoCluster, component.EchoLocal, component.EchoRemote, component.EchoNear, component.EchoSticky, component.EchoIdle,
		} {
			s, err := c.CoreV1().Services(component.EchoNamespace).Get(t.Context(), name, metav1.GetOptions{})
			require.NoError(t, err)
			s.Spec.Ports[0].NodePort = int32(30080 + i)
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: netip.AddrFrom4([4]byte{172, 20, 7, byte(240 + i)}).String()}}
			_, err = c.CoreV1().Services(component.EchoNamespace).Update(t.Context(), s, metav1.UpdateOptions{})
			require.NoError(t, err)
		}
		all, err := e.WaitAssigned(t.Context())
		require.NoError(t, err)
		cluster, local := all[component.EchoCluster], all[component.EchoLocal]
		require.Equal(t, "172.20.7.240", cluster.VIP.String())
		require.Equal(t, "172.20.7.241", local.VIP.String())
		require.Equal(t, "Local", local.Policy)
		require.EqualValues(t, 30080, cluster.Ports[component.PortHTTP].NodePort)
		require.EqualValues(t, 8082, cluster.Ports[component.PortUDP].Port)
	})
}

func TestPinnedBackends(t *testing.T) {
	pod := func(name, node, address string, ready corev1.ConditionStatus) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: component.EchoNamespace, Labels: map[string]string{"app.kubernetes.io/name": component.EchoName}},
			Spec:       corev1.PodSpec{NodeName: node},
			Status:     corev1.PodStatus{PodIP: address, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
		}
	}
	c := fake.NewClientset(pod("a", "one", "10.0.0.1", corev1.ConditionTrue), pod("b", "two", "10.0.1.1", corev1.ConditionTrue), pod("c", "two", "10.0.1.2", corev1.ConditionFalse))
	e := &component.Echo{Client: c, Image: "probe:1"}
	addressesOf := func(service string) []string {
		s, err := c.DiscoveryV1().EndpointSlices(component.EchoNamespace).Get(t.Context(), service, metav1.GetOptions{})
		require.NoError(t, err)
		var out []string
		for _, ep := range s.Endpoints {
			out = append(out, ep.Addresses...)
		}
		return out
	}
	addresses := func() []string { return addressesOf(component.EchoRemote) }
	require.NoError(t, e.PinEverywhere(t.Context()))
	for _, service := range []string{component.EchoRemote, component.EchoNear} {
		require.Equal(t, []string{"10.0.0.1", "10.0.1.1"}, addressesOf(service))
	}
	n, err := e.PinRemote(t.Context(), "one")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []string{"10.0.1.1"}, addresses())
	n, err = e.PinNear(t.Context(), "one")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []string{"10.0.0.1"}, addressesOf(component.EchoNear))
	_, err = e.PinNear(t.Context(), "three")
	require.ErrorContains(t, err, "no ready backend")
	_, err = e.PinRemote(t.Context(), "two")
	require.NoError(t, err)
	require.Equal(t, []string{"10.0.0.1"}, addresses())
	require.NoError(t, c.CoreV1().Pods(component.EchoNamespace).Delete(t.Context(), "a", metav1.DeleteOptions{}))
	_, err = e.PinRemote(t.Context(), "two")
	require.ErrorContains(t, err, "no ready backend")
}

// An API server that is full lets writes time out, and may have done what they said; then
// somebody else may have written the object meanwhile.
func TestServicesAreWrittenAgain(t *testing.T) {
	ready := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "echo-more", Namespace: component.EchoNamespace},
		Status:     appsv1.DeploymentStatus{Replicas: 4, UpdatedReplicas: 4, ReadyReplicas: 4},
	}
	four := int32(4)
	ready.Spec.Replicas = &four
	services := schema.GroupVersionResource{Version: "v1", Resource: "services"}
	for name, c := range map[string]struct {
		refuse   error
		done     bool // all the same
		conflict bool // of the first update
		want     string
	}{
		"timed out":                        {refuse: apierrors.NewTimeoutError("request did not complete within requested timeout", 0)},
		"timed out in etcd":                {refuse: apierrors.NewInternalError(errors.New("etcdserver: request timed out"))},
		"too many":                         {refuse: apierrors.NewTooManyRequests("later", 1)},
		"timed out, and done":              {refuse: apierrors.NewTimeoutError("too late", 0), done: true},
		"timed out, done and written anew": {refuse: apierrors.NewTimeoutError("too late", 0), done: true, conflict: true},
		"for what it says":                 {refuse: apierrors.NewBadRequest("no"), want: "apply service echo-more-0002: no"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := fake.NewClientset(ready)
				client.PrependReactor("update", "deployments", func(ktesting.Action) (bool, runtime.Object, error) { return true, ready, nil })
				refused := false
				client.PrependReactor("create", "services", func(a ktesting.Action) (bool, runtime.Object, error) {
					s := a.(ktesting.CreateAction).GetObject().(*corev1.Service)
					if s.Name != "echo-more-0002" || refused {
						return false, nil, nil
					}
					refused = true
					if c.done {
						require.NoError(t, client.Tracker().Create(services, s, s.Namespace))
					}
					return true, nil, c.refuse
				})
				updates := 0
				client.PrependReactor("update", "services", func(ktesting.Action) (bool, runtime.Object, error) {
					if updates++; updates == 1 && c.conflict {
						return true, nil, apierrors.NewConflict(services.GroupResource(), "echo-more-0002", errors.New("the object has been modified"))
					}
					return false, nil, nil
				})
				var said []string
				err := (&component.Echo{Client: client, Progress: func(line string) { said = append(said, line) }}).ApplyMore(t.Context(), 3)
				if c.want != "" {
					require.ErrorContains(t, err, c.want)
					return
				}
				require.NoError(t, err)
				require.Contains(t, strings.Join(said, "\n"), "service echo-more-0002 not yet", "whoever waits is told")
				all, err := client.CoreV1().Services(component.EchoNamespace).List(t.Context(), metav1.ListOptions{})
				require.NoError(t, err)
				require.Len(t, all.Items, 3)
				require.Equal(t, c.conflict, updates == 2)
			})
		})
	}
}
