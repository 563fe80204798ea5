// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fault

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
)

// sysctls sets kernel settings on some nodes, and back to what they were.
type sysctls struct {
	t      Target
	choose func(ctx context.Context, t Target) ([]cluster.Node, error)
	keys   []string // in the order in which they are set
	bad    string

	nodes []cluster.Node
	saved map[string]map[string]string // node -> key -> value
}

// newForwardOff is for a node that drops, without a trace, whatever enters there and has
// its backend elsewhere. It is the announcer of the Service whose backends are.
func newForwardOff(t Target) Fault {
	return &sysctls{t: t, bad: "0", keys: []string{"net.ipv4.ip_forward"}, choose: func(ctx context.Context, t Target) ([]cluster.Node, error) {
		name, err := t.Announcer(ctx)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(t.Nodes, func(n cluster.Node) bool { return n.Name() == name })
		if i < 0 {
			return nil, fmt.Errorf("announcer %s is no node of the cluster", name)
		}
		return t.Nodes[i : i+1], nil
	}}
}

// newStrictARPReverted is for a later `sysctl --system` on every node: kube-proxy writes
// these settings when it starts, and never again.
func newStrictARPReverted(t Target) Fault {
	return &sysctls{t: t, bad: "0", keys: []string{
		"net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.all.arp_announce",
		"net.ipv4.conf.eth0.arp_ignore", "net.ipv4.conf.eth0.arp_announce",
	}, choose: func(_ context.Context, t Target) ([]cluster.Node, error) { return t.Nodes, nil }}
}

// newIPv6ForwardingOff is for nodes that somebody has set to forward IPv4 alone.
func newIPv6ForwardingOff(t Target) Fault {
	return &sysctls{t: t, bad: "0", keys: []string{"net.ipv6.conf.all.forwarding"}, choose: func(_ context.Context, t Target) ([]cluster.Node, error) {
		return t.Nodes, nil
	}}
}

// newProxyARP makes a node answer for what it would send back to the segment as well: that
// is where VIPs are.
func newProxyARP(t Target) Fault {
	return &sysctls{t: t, bad: "1", keys: []string{
		"net.ipv4.conf.eth0.proxy_arp_pvlan", "net.ipv4.conf.eth0.proxy_arp",
	}, choose: func(_ context.Context, t Target) ([]cluster.Node, error) {
		n, err := t.controlPlane()
		return []cluster.Node{n}, err
	}}
}

func file(key string) string { return "/proc/sys/" + strings.ReplaceAll(key, ".", "/") }

func (f *sysctls) read(ctx context.Context, n cluster.Node, key string) (string, error) {
	out, err := cluster.Output(ctx, n, "cat", file(key))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", key, err)
	}
	return strings.TrimSpace(out), nil
}

func (f *sysctls) write(ctx context.Context, n cluster.Node, key, value string) error {
	if _, err := cluster.Output(ctx, n, "sh", "-c", `echo "$1" >"$2"`, "sh", value, file(key)); err != nil {
		return fmt.Errorf("set %s: %w", key, err)
	}
	return nil
}

func (f *sysctls) Apply(ctx context.Context) (string, error) {
	nodes, err := f.choose(ctx, f.t)
	if err != nil {
		return "", err
	}
	f.nodes, f.saved = nodes, map[string]map[string]string{}
	var did []string
	changes := false
	for _, n := range nodes {
		f.saved[n.Name()] = map[string]string{}
		for _, key := range f.keys {
			old, err := f.read(ctx, n, key)
			if err != nil {
				return "", err
			}
			f.saved[n.Name()][key] = old
			changes = changes || old != f.bad
			if err := f.write(ctx, n, key, f.bad); err != nil {
				return "", err
			}
			did = append(did, fmt.Sprintf("%s: %s was %s", n.Name(), key, old))
		}
	}
	if !changes {
		return "", fmt.Errorf("set %s to %s: it was that already, so nothing would change", strings.Join(f.keys, ", "), f.bad)
	}
	return fmt.Sprintf("set to %s: %s", f.bad, strings.Join(did, "; ")), nil
}

func (f *sysctls) Verify(ctx context.Context, applied bool) (string, error) {
	var seen []string
	for _, n := range f.nodes {
		for _, key := range f.keys {
			now, err := f.read(ctx, n, key)
			if err != nil {
				return "", err
			}
			want := f.bad
			if !applied {
				want = f.saved[n.Name()][key]
			}
			if now != want {
				return "", fmt.Errorf("%s: %s is %s, not %s", n.Name(), key, now, want)
			}
			seen = append(seen, fmt.Sprintf("%s: %s is %s", n.Name(), key, now))
		}
	}
	return strings.Join(seen, "; "), nil
}

func (f *sysctls) Undo(ctx context.Context) (string, error) {
	var did []string
	for _, n := range f.nodes {
		for _, key := range f.keys {
			old, ok := f.saved[n.Name()][key]
			if !ok {
				continue // Apply did not come to it
			}
			if err := f.write(ctx, n, key, old); err != nil {
				return "", err
			}
			did = append(did, fmt.Sprintf("%s: %s to %s", n.Name(), key, old))
		}
	}
	return "set back: " + strings.Join(did, "; "), nil
}
