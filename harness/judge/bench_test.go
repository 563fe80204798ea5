// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
)

// What judging a real run costs: it is done twice in an emulated guest, where all takes
// several times as long.
func BenchmarkJudge(b *testing.B) {
	file := filepath.Join("..", "..", "fixtures", "journals", "kube-proxy-iptables", journal.FileName)
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			_, err := journal.ReadFile(file)
			require.NoError(b, err)
		}
	})
	j, err := journal.ReadFile(file)
	require.NoError(b, err)
	b.Run("judge", func(b *testing.B) {
		for b.Loop() {
			_, err := judge.Journal(j)
			require.NoError(b, err)
		}
	})
}
