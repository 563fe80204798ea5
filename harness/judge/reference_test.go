// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge_test

import (
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/judge"
)

var update = flag.Bool("update", false, "rewrite docs/checks.md")

func TestReferenceIsUpToDate(t *testing.T) {
	const path = "../../docs/checks.md"
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(judge.Reference()), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, judge.Reference(), string(got), "run go test ./harness/judge -update")
}
