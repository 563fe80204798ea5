// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// candidates lists the nodes that may announce a Service: those that are not
// excluded from external load balancers and, under policy Local, have a ready
// endpoint of it (MetalLB speaker/layer2_controller.go). Every recorded node runs a
// speaker in our scenarios.
func candidates(t journal.Topology, objs journal.Objects, service string) []string {
	local := slices.ContainsFunc(objs.Services, func(s journal.Service) bool {
		return s.Name == service && s.ExternalTrafficPolicy == "Local"
	})
	var out []string
	for _, n := range t.Nodes {
		if n.ExcludedFromLB {
			continue
		}
		if local && !slices.ContainsFunc(objs.Backends, func(b journal.Backend) bool {
			return b.Service == service && b.Node == n.Name
		}) {
			continue
		}
		out = append(out, n.Name)
	}
	return out
}

// Elect names the node that MetalLB's stateless election picks for an address: the
// first by sha256(node + "#" + address). The formula is the same in 0.13.9 to 0.16.1.
func Elect(nodes []string, addr string) string {
	if len(nodes) == 0 {
		return ""
	}
	sum := func(n string) []byte {
		h := sha256.Sum256([]byte(n + "#" + addr))
		return h[:]
	}
	return slices.MinFunc(nodes, func(a, b string) int { return bytes.Compare(sum(a), sum(b)) })
}

// announcedBy lists the nodes whose speaker's own metrics say that it announces addr:
// metallb_speaker_announced{ip="ADDR",...} 1.
func announcedBy(all []journal.SpeakerMetrics, addr string) ([]string, error) {
	var out []string
	for _, m := range all {
		if m.Error != "" {
			return nil, fmt.Errorf("speaker metrics of %s: %s", m.Node, m.Error)
		}
		for line := range strings.Lines(m.Text) {
			labels, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
			if !ok || !strings.HasPrefix(labels, "metallb_speaker_announced{") {
				continue
			}
			if strings.Contains(labels, `ip="`+addr+`"`) && value == "1" {
				out = append(out, m.Node)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// statusOf is the node a Service's ServiceL2Status names, "" where there is none.
func statusOf(objs journal.Objects, service string) string {
	for _, s := range objs.L2Statuses {
		if s.Service == service {
			return s.Node
		}
	}
	return ""
}

// lastAssigned is the newest nodeAssigned event of a Service.
func lastAssigned(objs journal.Objects, service string) (string, bool) {
	var newest journal.Event
	found := false
	for _, e := range objs.Events {
		if e.Service == service && e.Reason == "nodeAssigned" && (!found || e.Last.After(newest.Last)) {
			newest, found = e, true
		}
	}
	return newest.Message, found
}

// handedOver says whether the Service's events show that it was announced from one
// node and from another, not before that. Events of the same second are not ordered.
func handedOver(objs journal.Objects, service, from, to string) bool {
	var first, last time.Time
	for _, e := range objs.Events {
		if e.Service != service || e.Reason != "nodeAssigned" {
			continue
		}
		if from != "" && strings.Contains(e.Message, `"`+from+`"`) {
			first = e.Last
		}
		if strings.Contains(e.Message, `"`+to+`"`) {
			last = e.Last
		}
	}
	return !first.IsZero() && !last.IsZero() && !last.Before(first)
}
