// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
)

const (
	// metricsReader is the service account that may read metrics, and its role.
	metricsReader = "lbmatrix-metrics-reader"
	// tokenSeconds is how long its tokens are good: the least that the API server gives.
	tokenSeconds = 600
	// metricsPort is the chart's default up to MetalLB 0.15 (prometheus.metricsPort).
	metricsPort = 7472
)

// metricsEndpoint is where a speaker serves its metrics. MetalLB up to 0.15 serves them
// by plain HTTP on the port its pod names "monitoring". From 0.16 on it is HTTPS alone,
// on "metricshttps", for those whom the API server knows and lets read /metrics
// (controller-runtime's WithAuthenticationAndAuthorization).
type metricsEndpoint struct {
	url    string
	secure bool
}

func endpointOf(p corev1.Pod) metricsEndpoint {
	at := func(scheme string, port int32) string {
		return scheme + "://" + net.JoinHostPort(p.Status.PodIP, strconv.Itoa(int(port))) + "/metrics"
	}
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			switch port.Name {
			case "monitoring":
				return metricsEndpoint{url: at("http", port.ContainerPort)}
			case "metricshttps":
				return metricsEndpoint{url: at("https", port.ContainerPort), secure: true}
			}
		}
	}
	return metricsEndpoint{url: at("http", metricsPort)}
}

// speakerMetrics reads a speaker's own metrics on its node. token is called where the
// speaker wants one.
func speakerMetrics(ctx context.Context, nodes []cluster.Node, p corev1.Pod, token func() (string, error)) journal.SpeakerMetrics {
	m := journal.SpeakerMetrics{Node: p.Spec.NodeName}
	for _, n := range nodes {
		if n.Name() != p.Spec.NodeName {
			continue
		}
		out, err := readMetrics(ctx, n, endpointOf(p), token)
		if err != nil {
			m.Error = err.Error()
			return m
		}
		var b strings.Builder
		for line := range strings.Lines(out) {
			// The last one is there from the start, announcing or not: it shows that a speaker answered.
			if strings.HasPrefix(line, "metallb_speaker_announced") || strings.HasPrefix(line, "metallb_layer2_") ||
				strings.HasPrefix(line, "metallb_k8s_client_config_loaded_bool") {
				b.WriteString(line)
			}
		}
		m.Text = b.String()
		return m
	}
	m.Error = "the speaker's node is not in the cluster"
	return m
}

func readMetrics(ctx context.Context, n cluster.Node, at metricsEndpoint, token func() (string, error)) (string, error) {
	args := []string{"-sS", "--fail", "--max-time", "5"}
	var stdin string
	if at.secure {
		bearer, err := token()
		if err != nil {
			return "", err
		}
		// The certificate is the speaker's own, signed by nobody. The token goes by standard
		// input: arguments are in process lists and in errors.
		args = append(args, "--insecure", "--header", "@-")
		stdin = "Authorization: Bearer " + bearer + "\n"
	}
	var out bytes.Buffer
	err := n.Run(ctx, cluster.Command{Path: "curl", Args: append(args, at.url), Stdin: strings.NewReader(stdin), Stdout: &out})
	return out.String(), err
}

// metricsToken gives a token that may read metrics, and makes the account it is for
// where there is none.
func (e *Env) metricsToken(ctx context.Context) (string, error) {
	accounts := e.Kube.CoreV1().ServiceAccounts(e.Namespace)
	for _, object := range []struct {
		kind   string
		create func() error
	}{
		{"service account", func() error {
			_, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: metricsReader}}, metav1.CreateOptions{})
			return err
		}},
		{"cluster role", func() error {
			_, err := e.Kube.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
				ObjectMeta: metav1.ObjectMeta{Name: metricsReader},
				Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
			}, metav1.CreateOptions{})
			return err
		}},
		{"cluster role binding", func() error {
			_, err := e.Kube.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: metricsReader},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: metricsReader},
				Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: metricsReader, Namespace: e.Namespace}},
			}, metav1.CreateOptions{})
			return err
		}},
	} {
		if err := object.create(); err != nil && !apierrors.IsAlreadyExists(err) {
			return "", fmt.Errorf("make %s %s: %w", object.kind, metricsReader, err)
		}
	}
	got, err := accounts.CreateToken(ctx, metricsReader, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(tokenSeconds))},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("get a token of service account %s: %w", metricsReader, err)
	}
	return got.Status.Token, nil
}
