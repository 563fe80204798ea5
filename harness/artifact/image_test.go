// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"
)

func TestImageArchive(t *testing.T) {
	source := filepath.Join(t.TempDir(), "prog")
	require.NoError(t, os.WriteFile(source, []byte("program"), 0o600))
	images := []image{programImage("example.com/a/prog:v1", source, "/usr/local/bin/prog"), programImage("lbmatrix/b:v2", source, "/b")}
	var archive, again bytes.Buffer
	require.NoError(t, writeImages(&archive, images))
	require.NoError(t, writeImages(&again, images))
	require.Equal(t, archive.Len(), again.Len())

	tag, err := name.NewTag("example.com/a/prog:v1")
	require.NoError(t, err)
	img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }, &tag)
	require.NoError(t, err)
	require.NoError(t, validate.Image(img))
	layers, err := img.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 1)
	config, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, []string{"/usr/local/bin/prog"}, config.Config.Entrypoint)
	require.Equal(t, map[string]string{"lbmatrix": "1"}, config.Config.Labels)

	content, err := layers[0].Uncompressed()
	require.NoError(t, err)
	r := tar.NewReader(content)
	h, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, "usr/local/bin/prog", h.Name)
	require.EqualValues(t, 0o755, h.Mode)
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "program", string(data))
}

func TestMissingSourceIsAnError(t *testing.T) {
	require.ErrorIs(t, writeImages(io.Discard, []image{programImage("a/b:c", "/does/not/exist", "/b")}), os.ErrNotExist)
}

func TestTreeWritesEachPathOnce(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base.tar")
	var buf bytes.Buffer
	require.NoError(t, writeTree(&buf, "", []file{
		{path: "etc", dir: true, mode: 0o755}, text("etc/a", "base", 0o644), text("etc/b", "base", 0o644), text("etc/gone", "", 0o644),
	}, nil))
	require.NoError(t, os.WriteFile(base, buf.Bytes(), 0o644))
	buf.Reset()
	require.NoError(t, writeTree(&buf, base, []file{
		{path: "etc", dir: true, mode: 0o700},
		{path: "new", dir: true, mode: 0o755},
		{path: "new/", dir: true, mode: 0o755},
		text("etc/b", "over", 0o600), text("new/c", "first", 0o644), text("new/c", "last", 0o644),
		{path: "etc/l", link: "/dev/null"},
	}, func(name string) bool { return name == "etc/gone" }))

	got := map[string]string{}
	for r := tar.NewReader(&buf); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.NotContains(t, got, h.Name)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		got[h.Name] = string(data) + h.Linkname
	}
	require.Equal(t, map[string]string{"etc/": "", "etc/a": "base", "etc/b": "over", "new/": "", "new/c": "last", "etc/l": "/dev/null"}, got)
}

func TestContainerdConfig(t *testing.T) {
	got, err := containerdConfig("version = 2\n  sandbox_image = \"x\"\n  # c\n  restrict_oom_score_adj = false\n", "r/pause:1")
	require.NoError(t, err)
	require.Equal(t, "version = 2\n  sandbox_image = \"r/pause:1\"\n  # c\n  restrict_oom_score_adj = true\n", got)
	_, err = containerdConfig("version = 3\n", "r/pause:1")
	require.Error(t, err)
}

func TestUnwantedUnits(t *testing.T) {
	require.True(t, unwanted("etc/systemd/system/getty.target.wants/getty@tty1.service"))
	require.True(t, unwanted("usr/lib/systemd/system/sockets.target.wants/systemd-udevd-kernel.socket"))
	require.False(t, unwanted("usr/lib/systemd/system/sockets.target.wants/systemd-journald.socket"))
	require.False(t, unwanted("usr/lib/systemd/system/kubelet.service"))
}
