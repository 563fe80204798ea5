// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"runtime"
	"sort"

	"golang.org/x/sync/errgroup"

	"github.com/lbmatrix/lbmatrix/fixtures"
	"github.com/lbmatrix/lbmatrix/harness/docker"
)

// parts are the recipes and programs a set is made of; knowing them takes a second
// and makes nothing but the project's own programs.
type parts struct {
	version  string
	recipes  map[string]recipe // by component; also rootfs
	kind     pin
	pins     map[string]pin // of the add-ons, by component
	addons   []string       // components that are baked because the set names them
	standIns map[string]standIn
	runc     program
	pause    program
	probe    program
	fixtures string // content of fixtures/node/files
	script   []byte // fixtures/node/bake.sh
}

// parts plans a set and builds the project's own programs.
func (s *Store) parts(ctx context.Context, d *docker.Client, set Set) (parts, error) {
	p, err := s.plan(ctx, d, set)
	if err != nil {
		return parts{}, err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, o := range []struct {
		into      *program
		name, pkg string
	}{{&p.runc, "lbrunc", "./cmd/lbrunc"}, {&p.pause, "pause", "./fixtures/node/pause"}, {&p.probe, "lbprobe", s.probe}} {
		group.Go(func() (err error) {
			*o.into, err = s.program(ctx, o.name, o.pkg)
			return err
		})
	}
	return p, group.Wait()
}

// plan finds the recipes of a set. d, which may be nil, is where own builds are looked for.
func (s *Store) plan(ctx context.Context, d *docker.Client, set Set) (parts, error) {
	p := parts{version: set.Kubernetes, recipes: map[string]recipe{}, pins: map[string]pin{}}
	want := map[string]string{partKubernetes: set.Kubernetes, partEtcd: "", "coredns": "", "cni-plugins": ""}
	for component, version := range set.Components {
		if _, core := want[component]; !core {
			a, err := lookupAddon(component)
			if err != nil {
				return parts{}, err
			}
			p.addons = append(p.addons, component)
			if s.own.whole(component, a) {
				continue
			}
			if p.pins[component], err = loadPin(fixtures.Components, component, version); err != nil {
				return parts{}, err
			}
			if a.base.name != "" {
				if p.recipes[a.base.name], err = a.base.recipe(); err != nil {
					return parts{}, err
				}
			}
		}
		want[component] = version
	}
	want[partKubernetesNode] = want[partKubernetes]
	sort.Strings(p.addons)
	for component, version := range want {
		if version == "" {
			version = usual(component)
		}
		r, err := s.source.programs(ctx, component, version)
		if err != nil {
			return parts{}, err
		}
		p.recipes[component] = r
	}
	p.version = p.recipes[partKubernetes].version
	var err error
	if p.standIns, err = s.standIns(ctx, d, set); err != nil {
		return parts{}, err
	}
	if p.recipes["rootfs"], err = nodeSystem().recipe(); err != nil {
		return parts{}, err
	}
	if p.kind, err = loadPin(fixtures.Components, "kind", usual("kind")); err != nil {
		return parts{}, err
	}
	own, err := ownFiles()
	if err != nil {
		return parts{}, err
	}
	for _, f := range own {
		p.fixtures += hashStrings(f.path, string(f.data))
	}
	if p.script, err = fixtures.Node.ReadFile("node/bake.sh"); err != nil {
		return parts{}, err
	}
	return p, nil
}

// names are the references of every image on the way to a node's. Each key covers
// the images below it: base, common (every node), controlPlane, and with the probe
// the two that nodes run.
type names struct {
	NodeImages
	base, common, controlPlane string
}

func (p parts) names() names {
	tag := func(key, suffix string) string { return p.version + "-" + key[:keyLength] + suffix }
	base := hashStrings(nodeRecipe, runtime.GOARCH, p.recipes["rootfs"].key(), p.recipes[partKubernetes].key(), p.recipes[partKubernetesNode].key(),
		p.recipes["cni-plugins"].key(), string(p.kind.sum), p.runc.digest, p.fixtures)
	common := []string{base, string(p.script), p.recipes["coredns"].key(), p.pause.digest}
	for _, a := range p.addons {
		for _, name := range []string{a, baseName(a)} {
			if r, ok := p.recipes[name]; ok {
				common = append(common, r.key())
			}
		}
	}
	common = append(common, standInKey(p.standIns)...)
	shared := hashStrings(common...)
	control := hashStrings(shared, p.recipes[partEtcd].key())
	nodes := hashStrings(control, p.probe.digest)
	probe := probeRef(p.probe)
	return names{
		NodeImages: NodeImages{
			ControlPlane: "lbmatrix/node:" + tag(nodes, "-cp"), Worker: "lbmatrix/node:" + tag(nodes, "-worker"),
			Probe: probe, ProbeInCluster: probe, Kubernetes: p.version, Own: ownNames(p.standIns),
		},
		base: "lbmatrix/node-base:" + tag(base, ""), common: "lbmatrix/node-common:" + tag(shared, ""),
		controlPlane: "lbmatrix/node-control-plane:" + tag(control, ""),
	}
}
