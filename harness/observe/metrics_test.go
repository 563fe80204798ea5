// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// speaker is a speaker's pod with one named port; without a name it has none.
func speaker(port string, number int32) corev1.Pod {
	p := corev1.Pod{Spec: corev1.PodSpec{NodeName: "w1", Containers: []corev1.Container{{Name: "speaker"}}}, Status: corev1.PodStatus{PodIP: "192.0.2.11"}}
	if port != "" {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "memberlist-tcp", ContainerPort: 7946}, {Name: port, ContainerPort: number}}
	}
	return p
}

func TestWhereSpeakersServeMetrics(t *testing.T) {
	for _, test := range []struct {
		pod  corev1.Pod
		want metricsEndpoint
	}{
		{speaker("monitoring", 7472), metricsEndpoint{"http://192.0.2.11:7472/metrics", false}},
		{speaker("monitoring", 7000), metricsEndpoint{"http://192.0.2.11:7000/metrics", false}},
		{speaker("metricshttps", 9120), metricsEndpoint{"https://192.0.2.11:9120/metrics", true}},
		{speaker("", 0), metricsEndpoint{"http://192.0.2.11:7472/metrics", false}},
	} {
		require.Equal(t, test.want, endpointOf(test.pod))
	}
}

// curl is a node that answers for curl, and notes how it was asked.
type curl struct {
	cluster.Node
	args  []string
	stdin string
	err   error
}

func (c *curl) Name() string { return "w1" }

func (c *curl) Run(_ context.Context, cmd cluster.Command) error {
	text, err := io.ReadAll(cmd.Stdin)
	if err != nil {
		return err
	}
	c.args, c.stdin = cmd.Args, string(text)
	if c.err == nil {
		_, c.err = io.WriteString(cmd.Stdout, "go_goroutines 8\nmetallb_speaker_announced{ip=\"192.0.2.40\"} 1\n")
	}
	return c.err
}

// A speaker that asks who is asking gets a token, on standard input alone.
func TestMetricsWithAToken(t *testing.T) {
	kube := fake.NewClientset()
	made := 0
	kube.PrependReactor("create", "serviceaccounts", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "token" {
			return false, nil, nil
		}
		made++
		return true, &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{Token: "s3cret"}}, nil
	})
	e := &Env{Kube: kube, Namespace: "lbmatrix"}
	n := &curl{}
	token := func() (string, error) { return e.metricsToken(t.Context()) }
	for range 2 { // the account is there the second time
		m := speakerMetrics(t.Context(), []cluster.Node{n}, speaker("metricshttps", 9120), token)
		require.Equal(t, journal.SpeakerMetrics{Node: "w1", Text: "metallb_speaker_announced{ip=\"192.0.2.40\"} 1\n"}, m)
	}
	require.Equal(t, 2, made)
	require.Equal(t, "Authorization: Bearer s3cret\n", n.stdin)
	require.NotContains(t, strings.Join(n.args, " "), "s3cret")
	require.Contains(t, strings.Join(n.args, " "), "--header @-")
	role, err := kube.RbacV1().ClusterRoles().Get(t.Context(), metricsReader, metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"/metrics"}, role.Rules[0].NonResourceURLs)

	m := speakerMetrics(t.Context(), []cluster.Node{n}, speaker("monitoring", 7472), token)
	require.Empty(t, m.Error)
	require.Empty(t, n.stdin, "nobody asks for a token")
	n.err = errors.New("exit status 22")
	require.Contains(t, speakerMetrics(t.Context(), []cluster.Node{n}, speaker("monitoring", 7472), token).Error, "exit status 22")
	require.NotEmpty(t, speakerMetrics(t.Context(), nil, speaker("monitoring", 7472), token).Error)
}

// That a MetalLB has no statuses is a fact of its own; that they cannot be read is none.
func TestMetalLBWithoutStatuses(t *testing.T) {
	client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{metallbResource("servicel2statuses"): "ServiceL2StatusList"})
	var answer error
	client.PrependReactor("list", "servicel2statuses", func(clienttesting.Action) (bool, runtime.Object, error) {
		return answer != nil, nil, answer
	})
	e := &Env{Dynamic: client, MetalLB: "metallb-system"}
	for _, test := range []struct {
		answer error
		none   bool
		wrong  bool
	}{
		{nil, false, false},
		{apierrors.NewNotFound(schema.GroupResource{Group: "metallb.io", Resource: "servicel2statuses"}, ""), true, false},
		{apierrors.NewServiceUnavailable("not now"), false, true},
	} {
		answer = test.answer
		var objs journal.Objects
		err := e.statuses(t.Context(), &objs)
		require.Equal(t, test.wrong, err != nil, test.answer)
		require.Equal(t, test.none, objs.NoL2Statuses, test.answer)
	}
}
