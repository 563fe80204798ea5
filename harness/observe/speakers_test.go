// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatASpeakerHasHandled(t *testing.T) {
	const (
		help   = "# HELP metallb_k8s_client_updates_total Number of k8s object updates that have been processed.\n"
		loaded = "metallb_k8s_client_config_loaded_bool 1\n"
		count  = "metallb_k8s_client_updates_total 21\n"
	)
	require.Equal(t, "21", updates(help+loaded+count))
	require.Equal(t, "21", updates(count+loaded))
	for _, text := range []string{"", help, loaded, count, "metallb_k8s_client_config_loaded_bool 0\n" + count} {
		require.Equal(t, notLoaded, updates(text), "%q", text)
	}
}
