// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/artifact/aptget"
)

// A module comes after everything it depends on, once, and what is built in not at all.
func TestLoadOrder(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "modules.dep"), []byte(
		"kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko\n"+
			"kernel/drivers/virtio/virtio_ring.ko:\n"+
			"kernel/drivers/virtio/virtio-pci.ko: kernel/drivers/virtio/virtio_modern.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko\n"+
			"kernel/drivers/virtio/virtio_modern.ko:\n"+
			"kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko\n"), 0o644))
	got, err := loadOrder(dir, bootModules())
	require.NoError(t, err)
	require.Equal(t, []string{
		"kernel/drivers/virtio/virtio_ring.ko", "kernel/drivers/virtio/virtio.ko", "kernel/drivers/virtio/virtio_modern.ko",
		"kernel/drivers/virtio/virtio-pci.ko", "kernel/drivers/block/virtio_blk.ko",
	}, got)
}

func TestGuestOfUnknownKernel(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir()})
	require.NoError(t, err)
	_, err = s.Guest(t.Context(), "debian-huge")
	require.ErrorContains(t, err, `unknown kernel "debian-huge": want one of debian-cloud`)
}

// What a machine lacks is told from a failure.
func TestNoGuest(t *testing.T) {
	require.ErrorIs(t, noGuest(fmt.Errorf("make: %w", aptget.ErrNoPackage)), ErrNoGuest)
	require.ErrorIs(t, noGuest(fmt.Errorf("make: %w", aptget.ErrNotDebian)), ErrNoGuest)
	require.NotErrorIs(t, noGuest(os.ErrNotExist), ErrNoGuest)
}

// An image holds the folder, belongs to root, and has the room that was asked for.
func TestWriteExt4(t *testing.T) {
	if _, err := os.Stat(tool("mkfs.ext4")); err != nil {
		t.Skip("no mkfs.ext4")
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), make([]byte, 3<<20), 0o644))
	image := filepath.Join(t.TempDir(), "image")
	require.NoError(t, WriteExt4(t.Context(), dir, image, 32<<20))
	info, err := os.Stat(image)
	require.NoError(t, err)
	require.Greater(t, info.Size(), int64(35<<20))
	f, err := os.Open(image)
	require.NoError(t, err)
	defer f.Close()
	magic := make([]byte, 2)
	_, err = f.ReadAt(magic, 1024+0x38) // s_magic of the superblock
	require.NoError(t, err)
	require.Equal(t, []byte{0x53, 0xEF}, magic)
}
