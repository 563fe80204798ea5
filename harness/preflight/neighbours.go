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

// Limit reads how many entries it can have.
func (n Neighbours) Limit() (int, error) {
	raw, err := os.ReadFile(filepath.Join(n.root, neighboursHard))
	if err != nil {
		return 0, fmt.Errorf("read limit of neighbours: %w", err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0, fmt.Errorf("read limit of neighbours: %w", err)
	}
	return limit, nil
}

// Check sees to it that the nodes of a cluster of namespaces can have each other as
// neighbours, as their speakers do: it raises the limits where it may. Half the table is
// left to what else there is.
func (n Neighbours) Check(nodes int) *journal.Unsupported {
	limit, err := n.Limit()
	need := 2 * nodes * nodes
	if err != nil || limit >= need {
		return nil //nolint:nilerr // in a namespace of its own the file is not there, and nobody can tell
	}
	set := func(file string, value int) error {
		return os.WriteFile(filepath.Join(n.root, file), []byte(strconv.Itoa(value)), 0o644)
	}
	if set(neighboursHard, need) == nil && set(neighboursSoft, need/2) == nil {
		return nil
	}
	return &journal.Unsupported{
		Missing: []string{fmt.Sprintf("%d nodes have up to %d neighbours in all, and the kernel has room for %d (net.ipv4.neigh.default.gc_thresh3; half of it is for others)", nodes, nodes*nodes, limit)},
		Fix:     fmt.Sprintf("As root: sysctl -w net.ipv4.neigh.default.gc_thresh3=%d net.ipv4.neigh.default.gc_thresh2=%d", need, need/2),
	}
}
