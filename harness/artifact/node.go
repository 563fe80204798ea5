// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lbmatrix/lbmatrix/harness/docker"
)

// nodeRecipe changes when the way node images are put together does.
const nodeRecipe = "node-1"

// Set names what a cluster runs. An empty Kubernetes is the usual version.
// Components are baked into the nodes (metallb), or choose the version of a part
// every cluster has (etcd, coredns, cni-plugins; default: the usual one).
type Set struct {
	Kubernetes string
	Components map[string]string // e.g. {"metallb": "v0.15.2"}
	// Processes says that the cluster is one of processes: with the registry source it takes
	// programs out of published images, and no node image.
	Processes bool
}

// NodeImages are image references, all present in the daemon they were made in.
type NodeImages struct {
	ControlPlane, Worker string // for the nodes of a kind cluster
	Probe                string // client and observer containers; entrypoint /lbprobe
	ProbeInCluster       string // the same for pods: in every node, imagePullPolicy Never or IfNotPresent
	Kubernetes           string // version, e.g. v1.35.4
	// Own tells of the user's builds in them: component/image -> where from, and digest.
	Own map[string]string
}

// NodeImages makes the images for the nodes of a set, and the probe's image, where
// the daemon does not hold them yet.
func (s *Store) NodeImages(ctx context.Context, d *docker.Client, set Set) (NodeImages, error) {
	if s.from == Registry {
		return s.fetchedNodeImages(ctx, d, set)
	}
	p, err := s.parts(ctx, d, set)
	if err != nil {
		return NodeImages{}, fmt.Errorf("plan node images: %w", err)
	}
	n := p.names()
	held := true
	for _, ref := range []string{n.ControlPlane, n.Worker} {
		ok, err := d.HasImage(ctx, ref)
		if err != nil {
			return NodeImages{}, fmt.Errorf("make node images: %w", err)
		}
		held = held && ok
	}
	if err := s.ensureImage(ctx, d, n.Probe, func(ctx context.Context, _ func(string)) error {
		return feed(ctx, d, func(w io.Writer) error { return writeImages(w, []image{probeImage(p.probe)}) }, "load")
	}); err != nil {
		return NodeImages{}, err
	}
	if held {
		s.report(Event{Artifact: "image " + n.ControlPlane, State: Cached})
		s.report(Event{Artifact: "image " + n.Worker, State: Cached})
		return n.NodeImages, nil
	}
	if err := s.bakeNodes(ctx, d, p, n); err != nil {
		return NodeImages{}, err
	}
	return n.NodeImages, nil
}

// ensureAll makes every part. Two at a time: a Go build alone keeps the processors
// busy, the base system waits for the network.
func (s *Store) ensureAll(ctx context.Context, p parts) (map[string]string, error) {
	// Each chain is made one after the other: side by side the two parts of Kubernetes would
	// both compile the packages that they share.
	chains := [][]string{{"rootfs"}, {partKubernetes, partKubernetesNode}, {partEtcd}, {"cni-plugins"}, {"coredns"}}
	for _, a := range p.addons {
		for _, name := range []string{a, baseName(a)} {
			if _, ok := p.recipes[name]; ok {
				chains = append(chains, []string{name})
			}
		}
	}
	for _, name := range slices.Concat(chains...) {
		s.report(Event{Artifact: p.recipes[name].title(), State: Queued})
	}
	dirs := map[string]string{}
	var found sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for _, chain := range chains {
		group.Go(func() error {
			for _, name := range chain {
				dir, err := s.ensure(ctx, p.recipes[name])
				if err != nil {
					return err
				}
				found.Lock()
				dirs[name] = dir
				found.Unlock()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return dirs, nil
}

// bakeNodes goes through the chain of images; each is skipped when it is there.
func (s *Store) bakeNodes(ctx context.Context, d *docker.Client, p parts, n names) error {
	dirs, err := s.ensureAll(ctx, p)
	if err != nil {
		return err
	}
	refs, err := kubeadmImages(ctx, filepath.Join(dirs[partKubernetesNode], "kubeadm"), p.version)
	if err != nil {
		return err
	}
	common, control, err := p.nodeContents(ctx, dirs, refs)
	if err != nil {
		return err
	}
	if err := s.ensureImage(ctx, d, n.base, func(ctx context.Context, note func(string)) error {
		return p.importBase(ctx, d, dirs, refs["pause"], n.base, note)
	}); err != nil {
		return err
	}
	probe := []image{probeImage(p.probe)}
	program := []file{{path: "usr/local/bin/lbprobe", source: p.probe.path}}
	for _, b := range []bake{
		{from: n.base, to: n.common, images: common, script: p.script},
		{from: n.common, to: n.controlPlane, images: control, script: p.script},
		{from: n.common, to: n.Worker, images: probe, files: program, script: p.script},
		{from: n.controlPlane, to: n.ControlPlane, images: probe, files: program, script: p.script},
	} {
		if err := s.ensureImage(ctx, d, b.to, func(ctx context.Context, note func(string)) error { return b.run(ctx, d, note) }); err != nil {
			return err
		}
	}
	return nil
}

// importBase makes the image that holds the system and Kubernetes' own programs.
func (p parts) importBase(ctx context.Context, d *docker.Client, dirs map[string]string, pause, ref string, note func(string)) error {
	module, err := p.kind.moduleDir(ctx)
	if err != nil {
		return err
	}
	files, err := kindFiles(module, pause)
	if err != nil {
		return err
	}
	own, err := ownFiles()
	if err != nil {
		return err
	}
	files = append(files, own...)
	files = append(files, systemFiles(p.version, p.runc.path)...)
	files = append(files, installed(dirs[partKubernetesNode], "usr/bin", "kubeadm", "kubelet")...)
	files = append(files, installed(dirs[partKubernetes], "usr/bin", "kubectl")...)
	files = append(files, file{path: "opt/cni", dir: true, mode: 0o755})
	files = append(files, installed(dirs["cni-plugins"], "opt/cni/bin", "bridge", "host-local", "loopback", "portmap", "ptp")...)
	note("importing base system")
	archive := filepath.Join(dirs["rootfs"], "node.tar")
	err = feed(ctx, d, func(w io.Writer) error { return writeTree(w, archive, files, unwanted) },
		append(append([]string{"import"}, settings()...), "-", ref)...)
	if err != nil {
		return fmt.Errorf("import base system: %w", err)
	}
	return nil
}
