// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package component

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/lbmatrix/lbmatrix/harness/cluster/await"
)

// Names of the workload behind the load balancer.
const (
	EchoNamespace = "lbmatrix"
	EchoName      = "echo"
	EchoCluster   = "echo-cluster" // externalTrafficPolicy Cluster
	EchoLocal     = "echo-local"   // externalTrafficPolicy Local
	EchoRemote    = "echo-remote"  // externalTrafficPolicy Cluster, no backend on the announcer
	EchoNear      = "echo-near"    // externalTrafficPolicy Cluster, no backend but on the announcer
	EchoSticky    = "echo-sticky"  // externalTrafficPolicy Cluster, sessionAffinity ClientIP
	EchoIdle      = "echo-idle"    // externalTrafficPolicy Local, no endpoint: nobody may announce it
	EchoSix       = "echo-six"     // externalTrafficPolicy Cluster, IPv6 alone
	EchoMore      = "echo-more-"   // begins the names of Services beside those under test
	moreName      = "echo-more"    // the Deployment behind them
	PortHTTP      = "http"
	PortUDP       = "udp"

	moreLabel   = "lbmatrix.io/more" // on Services beside those under test
	managedBy   = "app.kubernetes.io/managed-by"
	managerName = "lbmatrix"
	appLabel    = "app.kubernetes.io/name"
)

// The ports: outside, and in the pod.
const (
	servicePort = 80
	httpPort    = 8080
	udpPort     = 8082
)

// defaultReplicas is how many backends a scenario gets that does not say.
const defaultReplicas = 4

// Echo is the workload behind the load balancer: pods that say who they are and whom
// they see, and a Service for each external traffic policy.
type Echo struct {
	Client   kubernetes.Interface
	Image    string // the probe image, baked into the nodes
	Replicas int32
	Six      bool         // EchoSix is one of the Services
	Progress func(string) // nil discards
}

// ApplyBackend makes the namespace and the Deployment. What exists is updated.
func (e *Echo) ApplyBackend(ctx context.Context) error {
	if err := createNamespace(ctx, e.Client, EchoNamespace, labels()); err != nil {
		return err
	}
	if err := e.applyDeployment(ctx, e.deployment(EchoName, e.Replicas)); err != nil {
		return fmt.Errorf("apply deployment %s: %w", EchoName, err)
	}
	return nil
}

// createNamespace makes a namespace. One that is there stays as it is.
func createNamespace(ctx context.Context, c kubernetes.Interface, name string, labels map[string]string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := c.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	return nil
}

// ApplyServices makes the Services. With the backends ready before them, no endpoint
// that appears on another node moves a VIP while it is announced for the first time.
func (e *Echo) ApplyServices(ctx context.Context) error {
	all := []*corev1.Service{
		echoService(EchoCluster, corev1.ServiceExternalTrafficPolicyCluster),
		echoService(EchoLocal, corev1.ServiceExternalTrafficPolicyLocal),
		pinnedService(EchoRemote), pinnedService(EchoNear), stickyService(), idleService(),
	}
	if e.Six {
		all = append(all, sixService())
	}
	for _, s := range all {
		if err := e.applyService(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// moreAtOnce is how many Services are made at once: as many as an API server answers
// without the requests waiting for one another.
const moreAtOnce = 8

// ApplyMore makes n Services of policy Cluster beside those under test, with four backends
// of their own: those of the Services under test are as many as there are workers, and
// what a thousand Services have each of is rules on every node.
func (e *Echo) ApplyMore(ctx context.Context, n int) error {
	if err := e.applyDeployment(ctx, e.deployment(moreName, defaultReplicas)); err != nil {
		return fmt.Errorf("apply deployment %s: %w", moreName, err)
	}
	if err := WaitDeployment(ctx, e.Client, EchoNamespace, moreName, e.Progress); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(moreAtOnce)
	for i := range n {
		s := echoService(fmt.Sprintf("%s%04d", EchoMore, i+1), corev1.ServiceExternalTrafficPolicyCluster)
		s.Labels[moreLabel], s.Spec.Selector = "true", map[string]string{appLabel: moreName}
		g.Go(func() error { return e.applyService(ctx, s) })
	}
	return g.Wait()
}

// taken bounds the wait until an API server takes a write: with 30 kube-proxies on two cores it
// let one in 300 time out, after 34 s.
const taken = 5 * time.Minute

// patiently writes something, again and again where the API server has no time for it.
func (e *Echo) patiently(ctx context.Context, what string, write func(context.Context) error) error {
	w := await.Wait{For: "the API server to take " + what, Within: taken, Every: time.Second, Changed: e.Progress}
	return await.Until(ctx, w, func(ctx context.Context) (bool, string, error) {
		err := write(ctx)
		switch {
		case err == nil:
			return true, "", nil
		case busy(err):
			return false, what + " not yet: " + err.Error(), err
		}
		return false, "", await.Fatal(err)
	})
}

// busy says whether an API server refused a write for want of time, not for what it says. One
// that timed out may have been done: a controller then writes the object as well, and the
// next try finds another version than it read.
func busy(err error) bool {
	return apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) ||
		apierrors.IsConflict(err) || strings.Contains(err.Error(), "etcdserver: request timed out")
}

// WaitReady waits until every backend is ready.
func (e *Echo) WaitReady(ctx context.Context) error {
	return WaitDeployment(ctx, e.Client, EchoNamespace, EchoName, e.Progress)
}

func (e *Echo) applyDeployment(ctx context.Context, d *appsv1.Deployment) error {
	client := e.Client.AppsV1().Deployments(EchoNamespace)
	_, err := client.Create(ctx, d, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	_, err = client.Update(ctx, d, metav1.UpdateOptions{})
	return err
}

func (e *Echo) applyService(ctx context.Context, s *corev1.Service) error {
	return e.patiently(ctx, "service "+s.Name, func(ctx context.Context) error {
		if err := e.writeService(ctx, s); err != nil {
			return fmt.Errorf("apply service %s: %w", s.Name, err)
		}
		return nil
	})
}

func (e *Echo) writeService(ctx context.Context, s *corev1.Service) error {
	client := e.Client.CoreV1().Services(EchoNamespace)
	_, err := client.Create(ctx, s, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	old, err := client.Get(ctx, s.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	// Node ports and addresses stay what they are.
	old.Spec.ExternalTrafficPolicy, old.Spec.SessionAffinity = s.Spec.ExternalTrafficPolicy, s.Spec.SessionAffinity
	_, err = client.Update(ctx, old, metav1.UpdateOptions{})
	return err
}

func labels() map[string]string {
	return map[string]string{appLabel: EchoName, managedBy: managerName}
}

// deployment spreads the pods evenly over the workers, for checks need to know which
// nodes hold a backend.
func (e *Echo) deployment(name string, replicas int32) *appsv1.Deployment {
	if replicas == 0 {
		replicas = defaultReplicas
	}
	all := labels()
	all[appLabel] = name
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{appLabel: name}}
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
	}
	grace := int64(1)
	honor := corev1.NodeInclusionPolicyHonor
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: EchoNamespace, Labels: all},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: selector,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: all},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: &grace,
					// The control plane is tainted: without this its empty domain would
					// hold the others back.
					TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
						MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.DoNotSchedule,
						LabelSelector: selector, NodeTaintsPolicy: &honor,
					}},
					Containers: []corev1.Container{{
						Name: EchoName, Image: e.Image, ImagePullPolicy: corev1.PullIfNotPresent, Args: []string{"serve", fmt.Sprintf("--udp=:%d", udpPort)},
						Env: []corev1.EnvVar{field("POD_NAME", "metadata.name"), field("NODE_NAME", "spec.nodeName")},
						Ports: []corev1.ContainerPort{
							{Name: PortHTTP, ContainerPort: httpPort, Protocol: corev1.ProtocolTCP},
							{Name: PortUDP, ContainerPort: udpPort, Protocol: corev1.ProtocolUDP},
						},
						ReadinessProbe: &corev1.Probe{
							PeriodSeconds: 1, TimeoutSeconds: 1,
							ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString(PortHTTP)}},
						},
					}},
				},
			},
		},
	}
}

func echoService(name string, policy corev1.ServiceExternalTrafficPolicy) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: EchoNamespace, Labels: labels()},
		Spec: corev1.ServiceSpec{
			Type:                  corev1.ServiceTypeLoadBalancer,
			ExternalTrafficPolicy: policy,
			SessionAffinity:       corev1.ServiceAffinityNone,
			Selector:              map[string]string{appLabel: EchoName},
			Ports: []corev1.ServicePort{
				{Name: PortHTTP, Protocol: corev1.ProtocolTCP, Port: servicePort, TargetPort: intstr.FromInt32(httpPort)},
				{Name: PortUDP, Protocol: corev1.ProtocolUDP, Port: udpPort, TargetPort: intstr.FromInt32(udpPort)},
			},
		},
	}
}

// stickyService is EchoSticky: every connection of one client goes to one backend.
func stickyService() *corev1.Service {
	s := echoService(EchoSticky, corev1.ServiceExternalTrafficPolicyCluster)
	s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	return s
}

// sixService is EchoSix.
func sixService() *corev1.Service {
	s := echoService(EchoSix, corev1.ServiceExternalTrafficPolicyCluster)
	one := corev1.IPFamilyPolicySingleStack
	s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = &one, []corev1.IPFamily{corev1.IPv6Protocol}
	return s
}

// idleService is EchoIdle: it gets its address and no pod has its label.
func idleService() *corev1.Service {
	s := echoService(EchoIdle, corev1.ServiceExternalTrafficPolicyLocal)
	s.Spec.Selector = map[string]string{appLabel: EchoIdle}
	return s
}
