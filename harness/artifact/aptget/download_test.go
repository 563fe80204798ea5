// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package aptget

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseDepends(t *testing.T) {
	for name, c := range map[string]struct {
		stanza string
		want   []string
	}{
		"a meta package": {"Package: linux-image-cloud-amd64\nDepends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\nSection: kernel\n", []string{"linux-image-6.1.0-56-cloud-amd64"}},
		"alternatives, architectures": {
			"Depends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool, python3:any\n",
			[]string{"kmod", "linux-base", "initramfs-tools", "python3"},
		},
		"none": {"Package: x\nPre-Depends: y\n", nil},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, parseDepends(c.stanza)) })
	}
}

// A machine whose apt knows no such package, and one that has no apt, are told apart.
func TestDependsOfWhatIsNotThere(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	_, err := Depends(t.Context(), "linux-image-cloud-amd64")
	require.ErrorIs(t, err, ErrNotDebian)

	for name, script := range map[string]string{"apt-cache": "echo 'N: No packages found' >&2; exit 100", "apt-get": "exit 0"} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	_, err = Depends(t.Context(), "linux-image-cloud-amd64")
	require.ErrorIs(t, err, ErrNoPackage)
	require.ErrorContains(t, err, "linux-image-cloud-amd64")
}
