// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/cluster/netns/standin"
	"github.com/lbmatrix/lbmatrix/harness/pace"
)

// runtime runs pods: those on their node's network in the node's machine, the others
// each in a machine of its own behind it.
type runtime struct {
	c *Cluster

	mu     sync.Mutex
	places map[string]*machine // by namespace/pod
	given  map[string]int      // pod addresses given out, by node
}

var _ standin.Runtime = (*runtime)(nil)

func (r *runtime) node(name string) (*member, error) {
	for _, n := range r.c.nodes {
		if n.name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("there is no node %s", name)
}

// Prepare implements standin.Runtime.
func (r *runtime) Prepare(ctx context.Context, namespace, pod, node string, hostNetwork bool) ([]netip.Addr, error) {
	n, err := r.node(node)
	if err != nil {
		return nil, err
	}
	key := namespace + "/" + pod
	if hostNetwork {
		r.put(key, n.machine)
		return r.c.layout.addresses(n.offset), nil
	}
	r.mu.Lock()
	r.given[node]++
	number := r.given[node]
	r.mu.Unlock()
	places, err := r.c.layout.pod(n.node, number)
	if err != nil {
		return nil, fmt.Errorf("place pod %s on node %s: %w", pod, node, err)
	}
	m, err := startMachine(r.c.o.Ledger, r.c.o.Programs[programProbe], pod)
	if err != nil {
		return nil, err
	}
	r.c.own(m)
	if err := plug(ctx, n, m, number, podMAC(places[0].address), places...); err != nil {
		return nil, err
	}
	r.put(key, m)
	var out []netip.Addr
	for _, p := range places {
		out = append(out, p.address)
	}
	return out, nil
}

// podMAC is a locally administered address made of the pod's own.
func podMAC(a netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x0a, 0x58}, a.AsSlice()...)
}

func (r *runtime) put(key string, m *machine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.places[key] = m
}

func (r *runtime) place(namespace, pod string) (*machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.places[namespace+"/"+pod]
	if !ok {
		return nil, fmt.Errorf("pod %s/%s was not prepared", namespace, pod)
	}
	return m, nil
}

// Start implements standin.Runtime: the program in a mount namespace of its own, with
// its volumes bound where it looks for them. No program starts before the API server's
// roles are there, by which it may ask for anything: some end when they are refused.
func (r *runtime) Start(ctx context.Context, c standin.Container) (<-chan error, error) {
	select {
	case <-r.c.finishing.roles:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	program := r.c.o.Programs[c.Program]
	if program == "" {
		return nil, fmt.Errorf("there is no program for image %s", c.Program)
	}
	m, err := r.place(c.Namespace, c.Pod)
	if err != nil {
		return nil, err
	}
	var binds strings.Builder
	for _, mount := range c.Mounts {
		if err := writeFiles(m.inside(volumeDir(c, mount)), mount.Files); err != nil {
			return nil, fmt.Errorf("write the volumes of pod %s: %w", c.Pod, err)
		}
		fmt.Fprintf(&binds, "at %s %s\n", quote(volumeDir(c, mount)), quote(mount.Path))
	}
	argv := append([]string{"unshare", "--mount", "--propagation", "private", "--", "sh", "-ec", shadow + binds.String() + `exec "$@"`, "sh", program}, c.Args...)
	p, err := m.start("pod "+c.Namespace+"/"+c.Pod, r.c.o.path("cluster", c.Node, c.Pod+".log"), c.Env, argv)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		<-p.done
		ended <- p.died()
	}()
	return ended, nil
}

// shadow makes mount points where the file system is read-only: the nearest folder that
// is there is covered by one that holds links to what was in it, and that can be
// written. Only this mount namespace sees it, and it goes with the machine's /run.
const shadow = `
covered=
at() {
	have=$2
	while [ ! -d "$have" ]; do have=${have%/*}; done
	case "$2 $covered" in
	/run/* | /var/run/* | *" $have "*) ;;
	*)
		if [ "$have" != "$2" ]; then
			covered="$covered $have "
			new=$(mktemp -d /run/lbmatrix/shadow.XXXXXX)
			mkdir "$new/old" "$new/new"
			mount --rbind "$have" "$new/old"
			for entry in "$have"/*; do [ ! -e "$entry" ] || ln -s "$new/old/${entry##*/}" "$new/new/"; done
			mount --bind "$new/new" "$have"
		fi
		;;
	esac
	mkdir -p "$2"
	mount --bind "$1" "$2"
}
`

// Refresh implements standin.Runtime. A file is replaced in one step.
func (r *runtime) Refresh(c standin.Container, mount standin.Mount) error {
	m, err := r.place(c.Namespace, c.Pod)
	if err != nil {
		return err
	}
	return writeFiles(m.inside(volumeDir(c, mount)), mount.Files)
}

// probeScript asks until it is answered: a shell in the pod's place, not a process a try.
const probeScript = `until curl -fsS -o /dev/null --max-time "$2" "$1"; do sleep "$3"; done`

// Probe implements standin.Runtime.
func (r *runtime) Probe(ctx context.Context, c standin.Container, url string) error {
	m, err := r.place(c.Namespace, c.Pod)
	if err != nil {
		return err
	}
	return m.Run(ctx, cluster.Command{Path: "sh", Args: []string{"-c", probeScript, "sh", url, seconds(ctx, time.Second), seconds(ctx, tryPause)}})
}

// tryPause is between two tries of a script that asks until it is answered. On a slow
// machine a dozen of them that ask without a pause take all there is from what they wait for.
const tryPause = 50 * time.Millisecond

// seconds is a duration stretched by the machine's pace, as sleep and curl take it.
func seconds(ctx context.Context, d time.Duration) string {
	return fmt.Sprintf("%.2f", pace.Scale(ctx, d).Seconds())
}

// volumeDir is where a mount's files lie in the pod's machine.
func volumeDir(c standin.Container, m standin.Mount) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(m.Path)) // never fails
	return fmt.Sprintf("/run/lbmatrix/volumes/%s_%s/%x", c.Namespace, c.Pod, h.Sum64())
}

func writeFiles(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var errs []error
	for name, data := range files {
		if filepath.Base(name) != name {
			errs = append(errs, fmt.Errorf("bad file name %q", name))
			continue
		}
		next := filepath.Join(dir, ".new")
		err := os.WriteFile(next, data, 0o600)
		if err == nil {
			err = os.Rename(next, filepath.Join(dir, name))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
