// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
)

// kubeadmImages asks kubeadm for the images it will name in a cluster's manifests,
// by the last part of their name: "kube-proxy", "etcd", "coredns", "pause".
func kubeadmImages(ctx context.Context, kubeadm, version string) (map[string]string, error) {
	out, err := proc.Run(ctx, proc.Command(ctx, kubeadm, "config", "images", "list", "--kubernetes-version", version))
	if err != nil {
		return nil, fmt.Errorf("list kubeadm's images: %w", err)
	}
	refs := map[string]string{}
	for _, ref := range strings.Fields(out) {
		name, _, _ := strings.Cut(path.Base(ref), ":")
		refs[name] = ref
	}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "coredns", "pause"} {
		if refs[name] == "" {
			return nil, fmt.Errorf("list kubeadm's images: no %s among %s", name, out)
		}
	}
	return refs, nil
}

// nodeContents lists the images every node holds and those of the control plane.
// CoreDNS and the add-ons may be scheduled on any node, so every node has them. The
// references are kubeadm's; what they hold is the pinned version.
func (p parts) nodeContents(ctx context.Context, dirs, refs map[string]string) (common, control []image, err error) {
	bin := "/usr/local/bin/"
	common = []image{
		programImage(refs["pause"], p.pause.path, "/pause"),
		programImage(refs["coredns"], filepath.Join(dirs["coredns"], "coredns"), "/coredns"),
		{
			ref: refs["kube-proxy"], base: filepath.Join(dirs["rootfs"], "proxy.tar"), entrypoint: []string{bin + "kube-proxy"},
			files: installed(dirs[partKubernetes], "usr/local/bin", "kube-proxy"),
		},
	}
	components, err := p.addonImages(ctx, dirs)
	if err != nil {
		return nil, nil, err
	}
	common = append(common, components...)
	for _, of := range [][2]string{{"kube-apiserver", partKubernetes}, {"kube-controller-manager", partKubernetesNode}, {"kube-scheduler", partKubernetesNode}} {
		name, part := of[0], of[1]
		control = append(control, programImage(refs[name], filepath.Join(dirs[part], name), bin+name))
	}
	// go build names it after the folder of its package.
	control = append(control, programImage(refs["etcd"], filepath.Join(dirs["etcd"], "server"), bin+"etcd"))
	return common, control, nil
}

// addonImages are the images of the components that the set names.
func (p parts) addonImages(ctx context.Context, dirs map[string]string) ([]image, error) {
	var all []image
	for _, name := range p.addons {
		component, err := lookupAddon(name)
		if err != nil {
			return nil, err
		}
		if _, made := p.recipes[name]; !made {
			continue // own builds stand in for all of it
		}
		images, err := component.images(ctx, addonFolders{
			version: p.recipes[name].version, programs: dirs[name], base: dirs[baseName(name)], module: p.pins[name].moduleDir,
		})
		if err != nil {
			return nil, fmt.Errorf("put together the images of %s: %w", name, err)
		}
		for _, i := range images {
			if _, replaced := p.standIns[i.ref]; !replaced {
				all = append(all, i)
			}
		}
	}
	own, err := standInImages(p.standIns)
	return append(all, own...), err
}
