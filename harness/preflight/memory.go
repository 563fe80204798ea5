// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package preflight

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// Memory is where the running kernel tells of its memory.
const Memory = "/proc/meminfo"

// What a cluster of namespaces was measured to take (docs/running.md, Scale), bytes: API
// server, etcd and MetalLB's controller, and the kube-proxy and speaker of a node.
const (
	MemoryPerControlPlane = 450 << 20
	MemoryPerNode         = 70 << 20
)

// Available reads how many bytes programs can still have without swapping, from a file
// with the form of /proc/meminfo.
func Available(file string) (int64, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("read available memory: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "MemAvailable:" {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read available memory: %w", err)
		}
		return kib * 1024, nil
	}
	return 0, fmt.Errorf("read available memory: %s does not say MemAvailable", file)
}

// CheckMemory says whether a cluster of namespaces with so many nodes fits into memory.
// Past it the kernel ends processes, and which ones nobody can tell beforehand.
func CheckMemory(file string, nodes int) *journal.Unsupported {
	free, err := Available(file)
	need := int64(MemoryPerControlPlane) + int64(nodes)*MemoryPerNode
	if err != nil || free >= need {
		return nil //nolint:nilerr // where nobody says it the cluster will tell
	}
	return &journal.Unsupported{
		Missing: []string{fmt.Sprintf("memory: %d nodes take some %.1f GB, and %.1f are available", nodes, float64(need)/1e9, float64(free)/1e9)},
		Fix:     "Stop something, or ask for fewer workers",
	}
}
