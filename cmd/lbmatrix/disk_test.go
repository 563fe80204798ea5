// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/lbmatrix/lbmatrix/harness/artifact/fetch/fetchtest"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

// A disk that fills up while an image is fetched, and one that is full when a run begins:
// the message says so, and what was half made is gone.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts a small disk")
	}
	world, err := fetchtest.Serve(t.TempDir())
	require.NoError(t, err)
	defer world.Close()
	require.NoError(t, world.AddMetalLB("v1.35.4", "v0.15.2"))
	big, err := random.Image(3<<20, 1)
	require.NoError(t, err)
	require.NoError(t, world.Push("metallb/speaker:v0.15.2", big))
	small := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", small, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(small, 0)) })
	t.Setenv("LBMATRIX_CACHE", filepath.Join(small, "cache"))
	t.Setenv("LBMATRIX_STATE", t.TempDir())
	t.Setenv("LBMATRIX_PINS", filepath.Join(t.TempDir(), "pins.yaml"))
	t.Setenv("LBMATRIX_REGISTRY_MIRROR", strings.Join(world.Mirrors(), ","))
	t.Setenv("DOCKER_HOST", "unix:///no/such/docker.sock")
	name := "kube-proxy-iptables-metallb-l2"
	command := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		code := run(t.Context(), args, strings.NewReader(""), &out, &errs)
		return code, errs.String()
	}
	code, said := command("images", "pin", name)
	require.Equal(t, report.ExitOK, code, said)
	code, said = command("images", "build", name, "--source", "registry")
	require.Equal(t, report.ExitBroken, code, said)
	require.Contains(t, said, "the disk is full: make room, or set LBMATRIX_CACHE")
	left, err := os.ReadDir(filepath.Join(small, "cache", "tmp"))
	require.NoError(t, err)
	require.Empty(t, left, "half an image")

	require.NoError(t, os.RemoveAll(filepath.Join(small, "cache")))
	fill := filepath.Join(small, "fill")
	_ = os.WriteFile(fill, make([]byte, 2<<20), 0o644) // ends when there is no more room
	code, said = command("run", name, "--results", filepath.Join(small, "results"), "--source", "go-module")
	require.Equal(t, report.ExitBroken, code, said)
	require.Contains(t, said, "no space left on device")
}
