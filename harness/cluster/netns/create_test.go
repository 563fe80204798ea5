// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

// starting is a cluster whose API server takes objects, and has its roles once ready is
// set. It then refuses kube-proxy's objects.
func starting(t *testing.T) (c *Cluster, ready *atomic.Bool) {
	t.Helper()
	ready = &atomic.Bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || (!ready.Load() && len(r.URL.Query()["exclude"]) != 2) {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(server.Close)
	sc, err := scenarios.Get("kube-proxy-iptables-metallb-l2", scenario.Options{})
	require.NoError(t, err)
	l, err := newLayout(sc)
	require.NoError(t, err)
	c = &Cluster{o: Options{Name: "lbm-starting", Scenario: sc}, layout: l, rest: &rest.Config{Host: server.URL}}
	c.kube, err = kubernetes.NewForConfig(c.rest)
	require.NoError(t, err)
	require.NoError(t, c.awaitAPI(t.Context(), "it to take objects", answersPath))
	return c, ready
}

// What needs the API server's roles waits for them, longer than Create takes, and WaitReady
// says what came of it.
func TestClusterIsFinishedWhenThereAreRoles(t *testing.T) {
	c, ready := starting(t)
	ctx, cancel := context.WithCancel(t.Context())
	c.finish(ctx, time.Now())
	cancel()
	require.ErrorIs(t, c.WaitReady(ctx), context.Canceled)
	select {
	case <-c.finishing.roles:
		require.Fail(t, "there are no roles yet")
	case <-c.finishing.done:
		require.Fail(t, "it ended with Create's context", "%v", c.finishing.err)
	case <-time.After(100 * time.Millisecond):
	}
	ready.Store(true)
	<-c.finishing.roles
	require.ErrorContains(t, c.WaitReady(t.Context()), "finish cluster lbm-starting: install kube-proxy: ")
	require.Len(t, c.Timings(), 1)
	require.Equal(t, stepAPI, c.Timings()[0].Name)
	c.finishing.settle(t.Context())
	c.finishing.end()
}

// A cluster that is deleted, or kept, before it has its roles does not wait for them.
func TestClusterEndsBeforeThereAreRoles(t *testing.T) {
	c, _ := starting(t)
	c.finish(t.Context(), time.Now())
	c.finishing.end()
	require.ErrorIs(t, c.WaitReady(t.Context()), context.Canceled)
	require.Empty(t, c.Timings())

	c, _ = starting(t)
	c.finish(t.Context(), time.Now())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	c.finishing.settle(ended)
	require.ErrorIs(t, c.WaitReady(t.Context()), context.Canceled)

	var none *finishing // an API server that was not started
	none.settle(t.Context())
	none.end()
	require.Contains(t, (&Cluster{}).Reach(), "not all made")
}
