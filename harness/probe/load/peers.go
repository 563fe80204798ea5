// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"cmp"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

func (t *targetState) answeredBy(id *probe.Identity) {
	key := cmp.Or(id.Pod, id.Host)
	count := t.backends[key]
	if count == nil {
		count = &probe.BackendCount{Pod: id.Pod, Node: id.Node, Protocol: id.Protocol, Peers: map[string]int{}}
		t.backends[key] = count
	}
	count.Responses++
	count.Peers[hostOf(id.Peer)]++
}

// hostOf is an address without its port, without an allocation; a text of another kind
// is kept whole.
func hostOf(address string) string {
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return address
	}
	host := address[:i]
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		return host[1 : len(host)-1]
	}
	return host
}

// peers is the record of who answered.
func (t *targetState) peers() probe.LoadPeers {
	peers := probe.LoadPeers{Target: t.name, Backends: make(map[string]probe.BackendCount, len(t.backends))}
	for key, count := range t.backends {
		peers.Backends[key] = *count
	}
	return peers
}
