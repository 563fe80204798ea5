// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package preflight

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// What a cluster was measured to take.
const (
	// InotifyPerNode is how many inotify instances the systemd, kubelet and containerd of
	// a node take, with the pods that a scenario has.
	InotifyPerNode = 40
	// InotifyPerNamespaceNode is what a node that is a namespace takes: its kube-proxy watches
	// its configuration. One is to spare.
	InotifyPerNamespaceNode = 2
	// InotifyLimit is the limit that kind's documentation recommends for several nodes.
	InotifyLimit = 512
	// DiskPerCluster is what nodes write while a scenario runs, and the least room that
	// images are baked in: bytes.
	DiskPerCluster = 2 << 30
)

// inotifyFile is the limit of inotify instances, for each user.
const inotifyFile = "proc/sys/fs/inotify/max_user_instances"

// Inotify is this machine's limit of inotify instances.
type Inotify struct {
	root string // "/"
	open func() (fd int, err error)
}

// ThisInotify is the running kernel's.
func ThisInotify() Inotify {
	return Inotify{root: "/", open: func() (int, error) { return unix.InotifyInit1(unix.IN_CLOEXEC) }}
}

// Limit reads it.
func (i Inotify) Limit() (int, error) {
	raw, err := os.ReadFile(filepath.Join(i.root, inotifyFile))
	if err != nil {
		return 0, fmt.Errorf("read inotify limit: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0, fmt.Errorf("read inotify limit: %w", err)
	}
	return n, nil
}

// Free says how many instances this user may still have, up to most: they are opened
// and closed again.
func (i Inotify) Free(most int) int {
	var fds []int
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	for len(fds) < most {
		fd, err := i.open()
		if err != nil {
			break
		}
		fds = append(fds, fd)
	}
	return len(fds)
}

// Check sees to it that nodes can start: it raises a limit that is below the recommended
// one where it may, and where that did not work counts what is free. Nodes that find none
// die with "too many open files". Another user's cannot be counted, so that only root's
// answer is one: a daemon's containers are root's. each is how many a node takes.
func (i Inotify) Check(nodes, each int) *journal.Unsupported {
	limit, err := i.Limit()
	need := nodes * each
	want := max(InotifyLimit, need)
	if err != nil || limit >= want {
		return nil //nolint:nilerr // where nobody says the limit the nodes will tell
	}
	if os.WriteFile(filepath.Join(i.root, inotifyFile), []byte(strconv.Itoa(want)), 0o644) == nil {
		return nil
	}
	if os.Geteuid() != 0 {
		return nil
	}
	free := i.Free(need)
	if free >= need {
		return nil
	}
	return &journal.Unsupported{
		Missing: []string{fmt.Sprintf("%d nodes take some %d inotify instances, and %d are free (fs.inotify.max_user_instances is %d)", nodes, need, free, limit)},
		Fix:     InotifyFix(),
	}
}

// InotifyFix is how to raise the limit.
func InotifyFix() string {
	return fmt.Sprintf("As root: sysctl -w fs.inotify.max_user_instances=%d", InotifyLimit)
}

// Room is how many bytes are free for users below a folder, which need not exist yet.
func Room(dir string) (int64, error) {
	for {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if err == nil {
			return int64(st.Bavail) * st.Bsize, nil
		}
		if parent := filepath.Dir(dir); errors.Is(err, os.ErrNotExist) && parent != dir {
			dir = parent
			continue
		}
		return 0, fmt.Errorf("look for room at %s: %w", dir, err)
	}
}

// CheckRoom says whether a cluster fits onto the disk of a folder.
func CheckRoom(dir, what string) *journal.Unsupported {
	if dir == "" {
		return nil
	}
	free, err := Room(dir)
	if err != nil || free >= DiskPerCluster {
		return nil //nolint:nilerr // where nobody says it the nodes will tell
	}
	return &journal.Unsupported{
		Missing: []string{fmt.Sprintf("%s is full: %.1f GB are free at %s, and a cluster takes %.1f", what, float64(free)/1e9, dir, float64(DiskPerCluster)/1e9)},
		Fix:     "Make room: `docker system prune`, `lbmatrix docker stop --purge`, or artifacts that `lbmatrix images list` shows",
	}
}
