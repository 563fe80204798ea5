// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package preflight

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// The limits of the kernel's table of IPv4 neighbours, which has the entries of all network
// namespaces and is set in the first one alone (ip-sysctl.rst, neigh/default/gc_thresh): above
// the second the kernel looks for entries to drop whenever one is added, above the third
// it adds none, and what is sent to that address is lost.
const (
	neighboursSoft = "proc/sys/net/ipv4/neigh/default/gc_thresh2"
	neighboursHard = "proc/sys/net/ipv4/neigh/default/gc_thresh3"
)

// Neighbours is this machine's table of IPv4 neighbours.
type Neighbours struct {
	root string // "/"
}

// ThisNeighbours is the running kernel's.
func ThisNeighbours() Neighbours { return Neighbours{root: "/"} }

// Limits read how many entries it has before the kernel looks for some to drop, and how many
// it can have.
func (n Neighbours) Limits() (soft, hard int, err error) {
	for file, into := range map[string]*int{neighboursSoft: &soft, neighboursHard: &hard} {
		raw, err := os.ReadFile(filepath.Join(n.root, file))
		if err != nil {
			return 0, 0, fmt.Errorf("read limits of neighbours: %w", err)
		}
		if *into, err = strconv.Atoi(strings.TrimSpace(string(raw))); err != nil {
			return 0, 0, fmt.Errorf("read limits of neighbours: %w", err)
		}
	}
	return soft, hard, nil
}

// Check sees to it that the nodes of a cluster of namespaces can have each other as
// neighbours, as their speakers do: it raises the limits where it may, and lowers none. Half
// the table is left to what else there is.
func (n Neighbours) Check(nodes int) *journal.Unsupported {
	soft, hard, err := n.Limits()
	entries := nodes * nodes
	if err != nil || (soft >= entries && hard >= 2*entries) {
		return nil //nolint:nilerr // in a namespace of its own the files are not there, and nobody can tell
	}
	set := func(file string, old, value int) error {
		if old >= value {
			return nil
		}
		return os.WriteFile(filepath.Join(n.root, file), []byte(strconv.Itoa(value)), 0o644)
	}
	if set(neighboursHard, hard, 2*entries) == nil && set(neighboursSoft, soft, entries) == nil {
		return nil
	}
	return &journal.Unsupported{
		Missing: []string{fmt.Sprintf("%d nodes have up to %d neighbours in all, and the kernel has room for %d before it drops some (net.ipv4.neigh.default.gc_thresh2), %d at most (gc_thresh3; half of it is for others)",
			nodes, entries, soft, hard)},
		Fix: fmt.Sprintf("As root: sysctl -w net.ipv4.neigh.default.gc_thresh3=%d net.ipv4.neigh.default.gc_thresh2=%d", max(hard, 2*entries), max(soft, entries)),
	}
}
