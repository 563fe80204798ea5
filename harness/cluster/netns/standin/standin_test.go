// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package standin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

// world is a runtime that starts nothing and remembers what it was told to.
type world struct {
	mu       sync.Mutex
	started  map[string]Container
	ends     map[string]chan error
	times    map[string]int
	refreshs []Mount
	unready  bool
}

func newWorld() *world {
	return &world{started: map[string]Container{}, ends: map[string]chan error{}, times: map[string]int{}}
}

func (w *world) Prepare(_ context.Context, _, pod, node string, hostNetwork bool) ([]netip.Addr, error) {
	if hostNetwork {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.times["prepared"]++
	return []netip.Addr{
		netip.AddrFrom4([4]byte{10, 0, 0, byte(w.times["prepared"])}), netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(w.times["prepared"])}),
	}, nil
}

func (w *world) Start(_ context.Context, c Container) (<-chan error, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.Program == "unknown" {
		return nil, errors.New("there is no program for image unknown")
	}
	w.started[c.Pod], w.ends[c.Pod] = c, make(chan error, 1)
	w.times[c.Pod]++
	return w.ends[c.Pod], nil
}

func (w *world) Refresh(_ Container, m Mount) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refreshs = append(w.refreshs, m)
	return nil
}

func (w *world) Probe(ctx context.Context, _ Container, _ string) error {
	if w.unready {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (w *world) container(pod string) (Container, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.started[pod], w.times[pod]
}

func nodes() []Node {
	return []Node{
		{Name: "cp", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, ControlPlane: true},
		{Name: "one", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.2")}},
		{Name: "two", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.3")}},
	}
}

func start(t *testing.T, w *world, crashed func(string, error), objects ...runtime.Object) *fake.Clientset {
	t.Helper()
	c := fake.NewClientset(objects...)
	c.PrependReactor("create", "serviceaccounts", func(a ktesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "token" {
			return false, nil, nil
		}
		return true, &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{Token: "a-token"}}, nil
	})
	a, err := Start(t.Context(), Options{
		Client: c, Nodes: nodes(), Runtime: w, APIServer: netip.MustParseAddrPort("192.0.2.1:6443"), CA: []byte("ca"), Starting: 2, Crashed: crashed,
	})
	require.NoError(t, err)
	t.Cleanup(a.Stop)
	return c
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, 10*time.Second, 10*time.Millisecond, what)
}

func template(labels map[string]string, spec corev1.PodSpec) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec}
}

func backends(image string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": "echo"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "echo", Generation: 3},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template(labels, corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: "echo", Image: image, Args: []string{"serve", "--name=$(POD_NAME)", "--other=$(NOBODY)"},
				Env: []corev1.EnvVar{
					{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
					{Name: "WHERE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.hostIP"}}},
				},
				Ports:          []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
				ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")}}},
			}},
		})},
	}
}

func TestDeploymentIsSpreadAndServed(t *testing.T) {
	w := newWorld()
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "echo"},
		Ports:    []corev1.ServicePort{{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("http")}},
	}}
	c := start(t, w, nil, backends("registry/lbprobe:1@sha256:x", 4), service)
	var slice *discoveryv1.EndpointSlice
	eventually(t, "four ready endpoints", func() bool {
		list, err := c.DiscoveryV1().EndpointSlices("n").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 || len(list.Items[0].Endpoints) != 4 {
			return false
		}
		slice = &list.Items[0]
		return !slices.ContainsFunc(slice.Endpoints, func(e discoveryv1.Endpoint) bool { return !*e.Conditions.Ready })
	})
	require.Equal(t, "s", slice.Labels[discoveryv1.LabelServiceName])
	require.EqualValues(t, 8080, *slice.Ports[0].Port)
	on := map[string]int{}
	for _, e := range slice.Endpoints {
		on[*e.NodeName]++
	}
	require.Equal(t, map[string]int{"one": 2, "two": 2}, on, "the control plane is tainted")

	got, _ := w.container("echo-0")
	require.Equal(t, "lbprobe", got.Program)
	require.Equal(t, []string{"serve", "--name=echo-0", "--other=$(NOBODY)"}, got.Args)
	require.Contains(t, got.Env, "WHERE=192.0.2.2")
	require.Contains(t, got.Env, "KUBERNETES_SERVICE_HOST=192.0.2.1")
	require.Empty(t, got.Mounts, "no service account, no token")
	eventually(t, "the status says so", func() bool {
		d, err := c.AppsV1().Deployments("n").Get(t.Context(), "echo", metav1.GetOptions{})
		return err == nil && d.Status.ReadyReplicas == 4 && d.Status.UpdatedReplicas == 4 && d.Status.ObservedGeneration == 3
	})
}

func speakers() *appsv1.DaemonSet {
	labels := map[string]string{"app": "speaker"}
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "speaker"},
		Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template(labels, corev1.PodSpec{
			HostNetwork: true, ServiceAccountName: "speaker", NodeSelector: map[string]string{corev1.LabelOSStable: "linux"},
			Tolerations: []corev1.Toleration{{Key: controlPlaneTaint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}},
			Containers: []corev1.Container{{
				Name: "speaker", Image: "speaker:v1", Command: []string{"/speaker", "--first"}, Args: []string{"--second"},
				VolumeMounts: []corev1.VolumeMount{{Name: "secret", MountPath: "/etc/key"}},
			}},
			Volumes: []corev1.Volume{{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "key"}}}},
		})},
	}
}

func TestDaemonSetWaitsForItsSecretAndSeesItChange(t *testing.T) {
	w := newWorld()
	c := start(t, w, nil, speakers())
	eventually(t, "a pod that waits says for what", func() bool {
		p, err := c.CoreV1().Pods("n").Get(t.Context(), "speaker-0", metav1.GetOptions{})
		return err == nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			p.Status.ContainerStatuses[0].State.Waiting.Reason == "CreateContainerConfigError" && p.Status.PodIP == "192.0.2.1"
	})
	_, times := w.container("speaker-0")
	require.Zero(t, times)
	key := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "key"}, Data: map[string][]byte{"k": []byte("1")}}
	_, err := c.CoreV1().Secrets("n").Create(t.Context(), key, metav1.CreateOptions{})
	require.NoError(t, err)
	eventually(t, "a pod on every node, the control plane too", func() bool {
		d, err := c.AppsV1().DaemonSets("n").Get(t.Context(), "speaker", metav1.GetOptions{})
		return err == nil && d.Status.NumberReady == 3 && d.Status.DesiredNumberScheduled == 3
	})
	got, _ := w.container("speaker-0")
	require.Equal(t, []string{"--first", "--second"}, got.Args)
	require.Equal(t, []Mount{
		{Path: "/etc/key", Files: map[string][]byte{"k": []byte("1")}},
		{Path: tokenPath, Files: map[string][]byte{"token": []byte("a-token"), "ca.crt": []byte("ca"), "namespace": []byte("n")}},
	}, got.Mounts)
	key.Data["k"] = []byte("2")
	_, err = c.CoreV1().Secrets("n").Update(t.Context(), key, metav1.UpdateOptions{})
	require.NoError(t, err)
	eventually(t, "each pod gets the new secret", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.refreshs) == 3 && string(w.refreshs[0].Files["k"]) == "2"
	})
}

// A volume that is optional and not there is an empty folder (MetalLB 0.16's memberlist
// configuration is), and one within another comes after it.
func TestOptionalVolumes(t *testing.T) {
	w := newWorld()
	d := speakers()
	spec := &d.Spec.Template.Spec
	spec.Volumes = []corev1.Volume{
		{Name: "inner", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}, Optional: new(true)}}},
		{Name: "outer", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "none", Optional: new(true)}}},
	}
	spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "inner", MountPath: "/etc/m/inner"}, {Name: "outer", MountPath: "/etc/m"}}
	c := start(t, w, nil, d)
	eventually(t, "nobody waits for what need not be there", func() bool {
		d, err := c.AppsV1().DaemonSets("n").Get(t.Context(), "speaker", metav1.GetOptions{})
		return err == nil && d.Status.NumberReady == 3
	})
	got, _ := w.container("speaker-0")
	require.Equal(t, []Mount{{Path: "/etc/m", Files: map[string][]byte{}}, {Path: "/etc/m/inner", Files: map[string][]byte{}}}, got.Mounts[:2])
}

func TestCrashIsToldAndStartedAgain(t *testing.T) {
	w := newWorld()
	var mu sync.Mutex
	var told []string
	c := start(t, w, func(pod string, err error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprintf("%s: %v", pod, err))
	}, backends("lbprobe", 1))
	eventually(t, "started", func() bool { _, n := w.container("echo-0"); return n == 1 })
	w.mu.Lock()
	w.ends["echo-0"] <- errors.New("echo-0 ended (exit status 1); the log:\nfirst\nlast words")
	w.mu.Unlock()
	eventually(t, "told in its status, in one line", func() bool {
		p, err := c.CoreV1().Pods("n").Get(t.Context(), "echo-0", metav1.GetOptions{})
		return err == nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			p.Status.ContainerStatuses[0].State.Waiting.Message == "echo-0 ended (exit status 1); the log: last words" && !isReady(p)
	})
	eventually(t, "started again", func() bool {
		p, err := c.CoreV1().Pods("n").Get(t.Context(), "echo-0", metav1.GetOptions{})
		return err == nil && isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, told, 1)
	require.Contains(t, told[0], "n/echo-0: echo-0 ended")
}

func TestWhatCannotBeDoneIsSaid(t *testing.T) {
	for name, change := range map[string]struct {
		of   func(*corev1.PodSpec)
		want string
	}{
		"two containers":   {func(s *corev1.PodSpec) { s.Containers = append(s.Containers, s.Containers[0]) }, "2 containers"},
		"init containers":  {func(s *corev1.PodSpec) { s.InitContainers = s.Containers }, "1 init containers"},
		"a host path":      {hostPath, "volume v is of a kind that cannot be made"},
		"a sub path":       {subPath, "has a subPath"},
		"a resource field": {resourceField, "variable X is taken from what cannot be read"},
		"no such program":  {func(s *corev1.PodSpec) { s.Containers[0].Image = "unknown:1" }, "no program for image"},
		"an exec probe": {func(s *corev1.PodSpec) {
			s.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}}
		}, "no plain HTTP request"},
	} {
		t.Run(name, func(t *testing.T) {
			d := backends("lbprobe", 1)
			change.of(&d.Spec.Template.Spec)
			c := start(t, newWorld(), nil, d)
			eventually(t, change.want, func() bool {
				p, err := c.CoreV1().Pods("n").Get(t.Context(), "echo-0", metav1.GetOptions{})
				return err == nil && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
					strings.Contains(p.Status.ContainerStatuses[0].State.Waiting.Message, change.want)
			})
		})
	}
}

func hostPath(s *corev1.PodSpec) {
	s.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
	s.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
}

func subPath(s *corev1.PodSpec) {
	s.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	s.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v", SubPath: "x"}}
}

func resourceField(s *corev1.PodSpec) {
	s.Containers[0].Env = append(s.Containers[0].Env, corev1.EnvVar{Name: "X", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{}}})
}

func TestTolerations(t *testing.T) {
	for _, tc := range []struct {
		t    corev1.Toleration
		want bool
	}{
		{corev1.Toleration{Operator: corev1.TolerationOpExists}, true},
		{corev1.Toleration{Key: controlPlaneTaint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}, true},
		{corev1.Toleration{Key: controlPlaneTaint}, true},
		{corev1.Toleration{Key: controlPlaneTaint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}, false},
		{corev1.Toleration{Key: "other", Operator: corev1.TolerationOpExists}, false},
		{corev1.Toleration{Key: controlPlaneTaint, Value: "x"}, false},
	} {
		require.Equal(t, tc.want, toleratesControlPlane(tc.t), "%+v", tc.t)
	}
	require.False(t, fits(corev1.PodSpec{NodeSelector: map[string]string{"disk": "ssd"}}, nodes()[1]))
}

// A Service's endpoints are those of its families, each in a slice of its own.
func TestEndpointsByFamily(t *testing.T) {
	w := newWorld()
	service := func(name string, families ...corev1.IPFamily) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "echo"}, IPFamilies: families,
			Ports: []corev1.ServicePort{{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("http")}},
		}}
	}
	c := start(t, w, nil, backends("lbprobe", 2), service("old"), service("six", corev1.IPv6Protocol), service("both", corev1.IPv4Protocol, corev1.IPv6Protocol))
	want := map[string][]string{
		"old IPv4": {"10.0.0.1", "10.0.0.2"}, "six IPv6": {"fd00::1", "fd00::2"}, "both IPv4": {"10.0.0.1", "10.0.0.2"}, "both IPv6": {"fd00::1", "fd00::2"},
	}
	got := map[string][]string{}
	eventually(t, "each has its own", func() bool {
		list, err := c.DiscoveryV1().EndpointSlices("n").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return false
		}
		got = map[string][]string{}
		for _, s := range list.Items {
			for _, e := range s.Endpoints {
				key := s.Labels[discoveryv1.LabelServiceName] + " " + string(s.AddressType)
				got[key] = append(got[key], e.Addresses...)
				slices.Sort(got[key])
			}
		}
		return len(got) == len(want) && len(got["both IPv6"]) == 2 && len(got["six IPv6"]) == 2 && len(got["old IPv4"]) == 2 && len(got["both IPv4"]) == 2
	})
	require.Equal(t, want, got)
}

// A Service whose endpoints are as they were is not written again, however often is looked:
// a thousand Services would take the API server's time from everybody.
func TestEndpointsAreWrittenWhenTheyChange(t *testing.T) {
	service := func(name string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "echo"},
			Ports:    []corev1.ServicePort{{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("http")}},
		}}
	}
	ready := func(c *fake.Clientset, name string) func() bool {
		return func() bool {
			s, err := c.DiscoveryV1().EndpointSlices("n").Get(t.Context(), name+"-standin-ipv4", metav1.GetOptions{})
			return err == nil && len(s.Endpoints) == 2 && *s.Endpoints[0].Conditions.Ready && *s.Endpoints[1].Conditions.Ready
		}
	}
	c := start(t, newWorld(), nil, backends("lbprobe", 2), service("first"))
	eventually(t, "endpoints", ready(c, "first"))
	c.ClearActions()
	// When the third has its endpoints, the look that made the second's is over.
	for _, name := range []string{"second", "third"} {
		_, err := c.CoreV1().Services("n").Create(t.Context(), service(name), metav1.CreateOptions{})
		require.NoError(t, err)
		eventually(t, "endpoints of the "+name, ready(c, name))
	}
	var written []string
	for _, a := range c.Actions() {
		if o, ok := a.(ktesting.CreateAction); ok && a.GetResource().Resource == "endpointslices" {
			written = append(written, a.GetVerb()+" "+o.GetObject().(*discoveryv1.EndpointSlice).Name)
		}
	}
	require.Equal(t, []string{"create second-standin-ipv4", "create third-standin-ipv4"}, written)
}

// No more programs than allowed are on their way to readiness, unless they take so long
// that others may be what they wait for.
func TestStartsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.unready = true
		start(t, w, nil, backends("lbprobe", 5))
		started := func() int {
			w.mu.Lock()
			defer w.mu.Unlock()
			return len(w.started)
		}
		for _, c := range []struct {
			after time.Duration
			want  int
		}{{startTurn / 2, 2}, {startTurn, 4}, {startTurn, 5}} {
			time.Sleep(c.after)
			synctest.Wait()
			require.Equal(t, c.want, started())
		}
	})
}

func TestStartsNeedATurn(t *testing.T) {
	_, err := Start(t.Context(), Options{Client: fake.NewClientset()})
	require.EqualError(t, err, "stand in: 0 programs may start at a time: none ever would")
}
