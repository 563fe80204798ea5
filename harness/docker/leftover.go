// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tidy removes what a dead daemon left, so that the next one starts: files that
// name a dead process, sockets nobody listens on. A containerd that outlived its
// dockerd is ended: the next one starts its own. So are the containers of the dead daemon
// with their shims: the new one ends those it knows, and one that the old daemon was just
// starting it does not know. It must only run while our dockerd does not.
func (p places) tidy(ctx context.Context) error {
	if c, ok := p.containerd(); ok {
		if err := c.end(ctx, 10*time.Second); err != nil {
			return fmt.Errorf("end leftover containerd: %w", err)
		}
	}
	for _, s := range p.shims() {
		if err := endShim(s); err != nil {
			return fmt.Errorf("end leftover container: %w", err)
		}
	}
	stale := []string{
		p.pidFile(), p.stateFile(), p.socket(),
		filepath.Join(p.execRoot(), "containerd", "containerd.pid"),
	}
	sockets, _ := filepath.Glob(filepath.Join(p.execRoot(), "containerd", "*.sock*"))
	for _, path := range append(stale, sockets...) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove leftover: %w", err)
		}
	}
	return nil
}

// purge removes images and containers. Mounts go first: removing through one would
// remove what is mounted.
func (p places) purge() error {
	for _, root := range []string{p.data, p.execRoot()} {
		if err := unmountUnder(root); err != nil {
			return err
		}
		if err := os.RemoveAll(root); err != nil {
			return fmt.Errorf("purge: %w", err)
		}
	}
	return nil
}

// unmountUnder detaches every mount at or below a folder, innermost first.
func unmountUnder(root string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	for _, point := range mountsUnder(string(table), root) {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}

// mountsUnder lists the mount points at or below root from a mountinfo table,
// deepest first.
func mountsUnder(table, root string) []string {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := unescape.Replace(fields[4])
		if point == root || strings.HasPrefix(point, root+"/") {
			points = append(points, point)
		}
	}
	sort.Slice(points, func(i, j int) bool { return len(points[i]) > len(points[j]) })
	return points
}
