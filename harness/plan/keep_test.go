// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// keptCluster is a cluster of which nothing is asked but to stay.
type keptCluster struct {
	provided
	err error
}

func (c keptCluster) Keep(context.Context) error { return c.err }
func (keptCluster) Reach() string                { return "kubectl get svc" }

// Whoever drives a worker must learn that the cluster is to stay, or removes it as what a
// dead worker left.
func TestKeepingIsTold(t *testing.T) {
	var out bytes.Buffer
	w := &worker{world: &world{cluster: keptCluster{}}, events: &emitter{w: &out, scenario: "x"}}
	require.NoError(t, w.keep(t.Context()))
	var e Event
	require.NoError(t, json.Unmarshal(out.Bytes(), &e))
	require.Equal(t, Kept, e.Type)
	require.Contains(t, e.Message, "kubectl get svc")

	out.Reset()
	failed := errors.New("no")
	w.world.cluster = keptCluster{err: failed}
	require.ErrorIs(t, w.keep(t.Context()), failed)
	require.Empty(t, out.String(), "what is not kept is not said to be")
}
