// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"errors"
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func exitStatus(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return strconv.Itoa(exit.ExitCode())
	}
	return err.Error()
}

func named(names ...string) []*scenario.Scenario {
	var out []*scenario.Scenario
	for _, n := range names {
		out = append(out, &scenario.Scenario{Metadata: scenario.Metadata{Name: n}})
	}
	return out
}

func TestShard(t *testing.T) {
	all := named("a", "b", "c", "d", "e")
	seen := map[string]int{}
	for _, spec := range []string{"1/3", "2/3", "3/3"} {
		part, err := shard(all, spec)
		require.NoError(t, err)
		require.NotEmpty(t, part)
		for _, sc := range part {
			seen[sc.Metadata.Name]++
		}
	}
	require.Equal(t, map[string]int{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}, seen, "every scenario in exactly one shard")
	for _, bad := range []string{"0/3", "4/3", "1", "a/b", "1/3x", " 1/3", "-1/3", "1/0"} {
		_, err := shard(all, bad)
		require.Error(t, err, bad)
	}
}
