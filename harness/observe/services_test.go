// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// machine is a host whose instruments have nothing to say, and that remembers what ran.
type machine struct {
	name         string
	controlPlane bool

	mu  sync.Mutex
	ran []string
}

func (m *machine) Name() string                                            { return m.name }
func (m *machine) ControlPlane() bool                                      { return m.controlPlane }
func (m *machine) Interfaces(context.Context) ([]cluster.Interface, error) { return nil, nil }

func (m *machine) Run(_ context.Context, c cluster.Command) error {
	m.mu.Lock()
	m.ran = append(m.ran, strings.Join(append([]string{c.Path}, c.Args...), " "))
	m.mu.Unlock()
	if c.Stdout == nil {
		return nil
	}
	_, err := fmt.Fprint(c.Stdout, `{"seq":1,"kind":"start","time":1,"body":{"args":{}}}`+"\n"+
		`{"seq":2,"kind":"end","time":2,"body":{"records":2,"reason":"done","totals":{}}}`+"\n")
	return err
}

// segment is a cluster of machines.
type segment struct {
	nodes    []cluster.Node
	observer cluster.Host
}

func (s segment) Name() string                                     { return "segment" }
func (s segment) RESTConfig() *rest.Config                         { return nil }
func (s segment) Nodes(context.Context) ([]cluster.Node, error)    { return s.nodes, nil }
func (s segment) Segment(context.Context) (cluster.Segment, error) { return cluster.Segment{}, nil }
func (s segment) Client(context.Context) (cluster.Host, error)     { return &machine{name: "client"}, nil }
func (s segment) Observer(context.Context) (cluster.Host, error)   { return s.observer, nil }
func (s segment) Collect(context.Context, string) error            { return nil }
func (s segment) Delete(context.Context) error                     { return nil }

// lab is an environment with the Services under test.
func lab(t *testing.T) (*Env, []*machine) {
	t.Helper()
	nodes := []*machine{{name: "cp", controlPlane: true}, {name: "w1"}, {name: "w2"}}
	var objects []runtime.Object
	for i, name := range []string{"echo-cluster", "echo-idle", "echo-local", "echo-near", "echo-remote", "echo-sticky"} {
		policy := corev1.ServiceExternalTrafficPolicyCluster
		if name == "echo-idle" || name == "echo-local" {
			policy = corev1.ServiceExternalTrafficPolicyLocal
		}
		objects = append(objects, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "lbmatrix"},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: policy,
				Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80, NodePort: 30080}, {Protocol: corev1.ProtocolUDP, Port: 8082}},
			},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: fmt.Sprintf("192.0.2.%d", 40+i)}}}},
		})
	}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Name: "echo-cluster-x", Namespace: "lbmatrix", Labels: map[string]string{discoveryv1.LabelServiceName: "echo-cluster"},
	}}
	for i, node := range []string{"w1", "w1", "w2"} {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.244.1.%d", 2+i)}, NodeName: &node, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: fmt.Sprintf("echo-%d", i)},
		})
	}
	objects = append(objects, slice)
	sc := &scenario.Scenario{}
	sc.SetDefaults()
	j, err := journal.Create(filepath.Join(t.TempDir(), journal.FileName), journal.Header{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, j.Close(journal.ReasonDone, nil)) })
	e := &Env{
		Scenario: sc, Journal: j, Kube: fake.NewClientset(objects...), Namespace: "lbmatrix", Remote: "echo-remote",
		Roles:    map[string]string{"echo-idle": journal.RoleIdle, "echo-near": journal.RoleNear, "echo-sticky": journal.RoleSticky},
		Topology: journal.Topology{Pool: "192.0.2.40-192.0.2.49"}, Probe: "/lbprobe", NodeProbe: "/usr/local/bin/lbprobe",
		Unassigned: netip.MustParseAddr("192.0.2.250"),
	}
	e.Cluster = segment{nodes: []cluster.Node{nodes[0], nodes[1], nodes[2]}}
	return e, nodes
}

func TestSpareAddressIsNobodys(t *testing.T) {
	services := func(vips ...string) []corev1.Service {
		var out []corev1.Service
		for _, v := range vips {
			out = append(out, corev1.Service{Status: corev1.ServiceStatus{
				LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: v}}},
			}})
		}
		return out
	}
	for name, tc := range map[string]struct {
		pool string
		vips []string
		want string // "" is an error
	}{
		"the highest":     {"192.0.2.40-192.0.2.49", []string{"192.0.2.40"}, "192.0.2.49"},
		"the next":        {"192.0.2.40-192.0.2.49", []string{"192.0.2.49", "192.0.2.48"}, "192.0.2.47"},
		"the lowest":      {"192.0.2.40-192.0.2.41", []string{"192.0.2.41"}, "192.0.2.40"},
		"of one":          {"192.0.2.40-192.0.2.40", nil, "192.0.2.40"},
		"none":            {"192.0.2.40-192.0.2.40", []string{"192.0.2.40"}, ""},
		"no pool":         {"", nil, ""},
		"half a pool":     {"192.0.2.40", nil, ""},
		"down to 0.0.0.0": {"0.0.0.0-0.0.0.0", []string{"0.0.0.0"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := spareAddress(tc.pool, services(tc.vips...))
			require.Equal(t, tc.want, got)
			require.Equal(t, tc.want == "", err != nil)
		})
	}
}

func TestSweepAsksForWhatMustBeSilent(t *testing.T) {
	e, _ := lab(t)
	targets, err := e.arpTargets(t.Context())
	require.NoError(t, err)
	kinds := map[string][]string{}
	for _, target := range targets {
		kinds[target.Kind] = append(kinds[target.Kind], target.Address)
	}
	require.Equal(t, []string{"192.0.2.41"}, kinds[journal.TargetIdle])
	require.Equal(t, []string{"192.0.2.49"}, kinds[journal.TargetSpare])
	require.Equal(t, []string{"192.0.2.250"}, kinds[journal.TargetUnassigned])
	require.Equal(t, []string{"192.0.2.40", "192.0.2.42", "192.0.2.43", "192.0.2.44", "192.0.2.45"}, kinds[journal.TargetVIP])
}

// Services beside those under test are nobody's but of the observation that is about
// them, and their addresses are given.
func TestMoreServicesArePassedOver(t *testing.T) {
	e, _ := lab(t)
	e.More = "echo-more-"
	observer := &machine{name: "observer"}
	e.Cluster = segment{observer: observer}
	e.Topology.Nodes = []journal.Node{{Member: journal.Member{Name: "w1", Address: "192.0.2.11"}}}
	before, err := e.Services(t.Context())
	require.NoError(t, err)
	var objs journal.Objects
	require.NoError(t, e.backends(t.Context(), &objs))
	backends := len(objs.Backends)
	for i, vip := range []string{"192.0.2.49", "192.0.2.47", ""} {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("echo-more-%d", i), Namespace: "lbmatrix"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
		if vip != "" {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: vip}}
		}
		_, err := e.Kube.CoreV1().Services("lbmatrix").Create(t.Context(), s, metav1.CreateOptions{})
		require.NoError(t, err)
		_, err = e.Kube.DiscoveryV1().EndpointSlices("lbmatrix").Create(t.Context(), &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Name: s.Name, Namespace: "lbmatrix", Labels: map[string]string{discoveryv1.LabelServiceName: s.Name}},
			Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.2"}}},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	after, err := e.Services(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, after)
	objs = journal.Objects{}
	require.NoError(t, e.backends(t.Context(), &objs))
	require.Len(t, objs.Backends, backends)
	spare, err := e.Spare(t.Context())
	require.NoError(t, err)
	require.Equal(t, "192.0.2.48", spare, "the highest that no Service has, of whichever kind")

	left, err := e.WaitAnswered(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, left)
	require.Empty(t, observer.ran, "nothing to ask for")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	left, err = e.WaitAnswered(ended, []string{"192.0.2.49", "192.0.2.47", "192.0.2.49"})
	require.NoError(t, err, "they had their time")
	require.Equal(t, []string{"192.0.2.47", "192.0.2.49"}, left)
}

// A sweep's rounds grow with what there is to ask for, and so does the time it has.
func TestSweepHasTimeForManyTargets(t *testing.T) {
	e, _ := lab(t)
	observer := &machine{name: "observer"}
	var targets []journal.Target
	for i := range 129 {
		targets = append(targets, journal.Target{Address: fmt.Sprintf("192.0.2.%d", i+1)})
	}
	targets = append(targets, journal.Target{}) // without a VIP
	o, err := e.Journal.Begin(journal.ObsARP)
	require.NoError(t, err)
	_ = e.ask(t.Context(), o, observer, journal.StreamARP, targets, 460) // the machine's instrument says nothing
	require.NoError(t, o.End(nil))
	require.Len(t, observer.ran, 1)
	require.Contains(t, observer.ran[0], " --count 460 --interval 130ms ")
	require.Contains(t, observer.ran[0], " --deadline 1m20.8s", "460 times 130 ms, a second to listen, and slack")
}

func TestInClusterClients(t *testing.T) {
	e, nodes := lab(t)
	o, err := e.Journal.Begin(journal.ObsInCluster)
	require.NoError(t, err)
	require.NoError(t, observeInCluster(t.Context(), e, o))
	require.NoError(t, o.End(nil))
	const asked = " --target echo-cluster=192.0.2.40:80 --target echo-local=192.0.2.42:80 "
	for i, node := range nodes {
		slices.Sort(node.ran)
		require.Len(t, node.ran, map[bool]int{true: 1, false: 2}[i == 0], "%s: a client on each node, one in a pod where there is a backend", node.name)
		require.True(t, strings.HasPrefix(node.ran[0], "/usr/local/bin/lbprobe load --mode http-new"), node.ran[0])
		for _, command := range node.ran {
			require.Contains(t, command, asked)
		}
	}
	require.Contains(t, nodes[1].ran[1], " sh echo-0 /usr/local/bin/lbprobe load ", "the first pod of the node")
	require.Contains(t, nodes[2].ran[1], " sh echo-2 /usr/local/bin/lbprobe load ")
}

func TestPayloadsCrossToAnotherNode(t *testing.T) {
	e, _ := lab(t)
	remote, err := e.remote(t.Context())
	require.NoError(t, err)
	require.Equal(t, "echo-remote", remote.Name)
	e.Remote = ""
	_, err = e.remote(t.Context())
	require.ErrorContains(t, err, "off its announcer")
}

// watcher is an observer to whom each VIP is answered as the next of its sweeps says: by
// one MAC, or by a second one too.
type watcher struct {
	machine
	second []bool
}

func (w *watcher) Run(_ context.Context, c cluster.Command) error {
	second := len(w.second) > 0 && w.second[0]
	if len(w.second) > 0 {
		w.second = w.second[1:]
	}
	seq := 0
	say := func(kind, body string) {
		seq++
		fmt.Fprintf(c.Stdout, `{"seq":%d,"kind":%q,"time":1,"body":%s}`+"\n", seq, kind, body)
	}
	say("start", "{}")
	for _, vip := range strings.Split(c.Args[slices.Index(c.Args, "--target")+1], ",") {
		say("arp.reply", fmt.Sprintf(`{"target":%q,"senderMAC":"02:00:00:00:00:01"}`, vip))
		if second && vip == "192.0.2.40" {
			say("arp.reply", fmt.Sprintf(`{"target":%q,"senderMAC":"02:00:00:00:00:02"}`, vip))
		}
	}
	say("end", "{}")
	return nil
}

func TestSettleRecordsWhatItTolerates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := lab(t)
		e.Cluster = segment{observer: &slow{host: &watcher{second: []bool{true, false, false, true}}}}
		found, err := e.Settle(t.Context(), time.Minute, OneEach)
		require.NoError(t, err)
		require.True(t, OneEach(found))
		require.NotContains(t, found, "192.0.2.41", "nobody is to answer for the Service without endpoints")
		require.True(t, e.settled.Stable)
		require.GreaterOrEqual(t, e.settled.StableMS, int64(2000))
		require.EqualValues(t, 2000, e.settled.WantedMS)
		var seen []int
		for _, change := range e.settled.Seen {
			seen = append(seen, len(change.Responders["192.0.2.40"]))
		}
		require.Equal(t, []int{2, 1, 2, 1}, seen, "every change is kept")
		require.EqualValues(t, 500, e.settled.Seen[1].AtMS)
	})
}

func TestSettleThatNeverComesToRestSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := lab(t)
		e.Cluster = segment{observer: &slow{host: &watcher{second: slices.Repeat([]bool{true, false}, 100)}}}
		_, err := e.Settle(t.Context(), 10*time.Second, OneEach)
		require.NoError(t, err, "the checks will say what it did")
		require.False(t, e.settled.Stable)
	})
}

// One sweep is enough where the segment is as it was at rest; where it is not, or never was, it
// is waited for as ever.
func TestRested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := lab(t)
		w := &watcher{}
		e.Cluster = segment{observer: &slow{host: w}}
		took := func(second ...bool) time.Duration {
			w.second = second
			began := time.Now()
			found, err := e.Rested(t.Context(), 10*time.Second, OneEach)
			require.NoError(t, err)
			require.True(t, OneEach(found))
			return time.Since(began)
		}
		require.Greater(t, took(), 2*time.Second, "never at rest before")
		require.NotNil(t, e.settled)
		require.Equal(t, 500*time.Millisecond, took())
		require.Nil(t, e.settled, "the sweep after it has nothing to tell of a wait")
		delete(e.rest, "192.0.2.40")
		require.Greater(t, took(), 2*time.Second, "other VIPs than then")
		require.Greater(t, took(true), 2*time.Second, "a second answer")
		_, err := e.Settle(t.Context(), time.Second, Crowded)
		require.NoError(t, err)
		require.Greater(t, took(), 2*time.Second, "it did not come to rest")
	})
}

// slow is a host whose commands take half a second.
type slow struct{ host cluster.Host }

func (s *slow) Name() string { return s.host.Name() }
func (s *slow) Interfaces(ctx context.Context) ([]cluster.Interface, error) {
	return s.host.Interfaces(ctx)
}

func (s *slow) Run(ctx context.Context, c cluster.Command) error {
	time.Sleep(500 * time.Millisecond)
	return s.host.Run(ctx, c)
}
