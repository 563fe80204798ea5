// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package docker

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDataIsGoneOnlyWithOurOwnDataRoot(t *testing.T) {
	p := places{run: t.TempDir(), data: filepath.Join(t.TempDir(), "docker")}
	require.True(t, p.dataGone(p.host()))
	require.False(t, p.dataGone("unix:///var/run/docker.sock"), "nobody knows about another daemon")
	p.data = t.TempDir()
	require.False(t, p.dataGone(p.host()))
}
