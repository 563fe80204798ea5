// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario_test

import (
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

var update = flag.Bool("update", false, "rewrite golden files, scenarios/schema.json and the table in scenarios/README.md")

// golden compares got with a file, or writes it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, "%s differs; go test ./harness/scenario -update rewrites it", file)
}

// known is what the tests pass for the names that other packages own.
func known() scenario.Options {
	return scenario.Options{
		Mutations: []string{"no-l2-advertisement", "block-memberlist", "ipv6-forwarding-off"},
		Checks:    []string{"single-responder", "request-latency", "source-address"},
	}
}

// good is a scenario that loads; tests change it.
const good = `apiVersion: lbmatrix/v1alpha1
kind: Scenario
metadata:
  name: good-one
  title: A good one
spec:
  dataPlane:
    proxy: iptables
  cluster:
    kubernetes: v1.35.4
    workers: 2
    cni: static
  components:
    - name: metallb
      version: v0.15.2
      namespace: metallb-system
      values:
        speaker: {frr: {enabled: false}}
  loadBalancer: {}
  limits:
    arpProbes: 20
    arpInterval: 10ms
    maxErrorRatio: 0
  mutations:
    - name: no-l2-advertisement
      expect:
        - check: single-responder
          code: responders=0
          consequences: [request-latency]
`
